// RUN: qplan-opt %s -split-input-file -verify-diagnostics

func.func @rope_width(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{width must be heads * head_dim: expected 48, found 64}}
  %y = qp.rope %x {heads = 3 : i64, head_dim = 16 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0>} : tensor<?x64xf32>
  return
}

// -----

func.func @rope_frequencies(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{at most head_dim / 2 inverse frequencies: expected 1, found 2}}
  %y = qp.rope %x {heads = 2 : i64, head_dim = 2 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0, 0.5>} : tensor<?x4xf32>
  return
}

// -----

// [attention-c1]
func.func @query_width(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{width of the query must be heads * head_dim: expected 64, found 32}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 1 : i64, head_dim = 16 : i64, scale = 1.0 : f64} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @key_width(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{width of key and value must be kv_heads * head_dim: expected 32, found 16}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 4 : i64, head_dim = 8 : i64, scale = 1.0 : f64} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @result_width(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{width of the result must be heads * head_dim: expected 32, found 16}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// [attention-c2]
func.func @heads(%q: tensor<?x32xf32>, %k: tensor<?x24xf32>) {
  // expected-error @+1 {{heads must be a multiple of kv_heads, found 4 and 3}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 3 : i64, head_dim = 8 : i64, scale = 1.0 : f64} : tensor<?x32xf32>, tensor<?x24xf32> -> tensor<?x32xf32>
  return
}

// -----

// [expert_linear-c1]
func.func @expert_weight(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x32xf32>) {
  // expected-error @+1 {{columns of the weight must be the width of the input: expected 64, found 32}}
  %y = qp.expert_linear %x, %r, [%w] ["e"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x32xf32>] -> tensor<?x8xf32>
  return
}

// -----

func.func @no_experts(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>) {
  // expected-error @+1 {{needs at least one expert}}
  %y = "qp.expert_linear"(%x, %r) <{operandSegmentSizes = array<i32: 1, 1, 0, 0>, sites = ["e"]}> : (tensor<?x64xf32>, tensor<?x2xi32>) -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c2]
func.func @sites_of_experts(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{needs one site, or one for each of the 3 weights, found 2}}
  %y = qp.expert_linear %x, %r, [%w, %w, %w] ["e", "f"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c2]
func.func @numbers_of_experts(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{as many numbers as weights: expected 1, found 2}}
  %y = qp.expert_linear %x, %r, [%w] ["e"] {numbers = array<i64: 0, 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c3]
func.func @no_chain(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>, %o: tensor<?x8xf32>) {
  // expected-error @+1 {{goes on from an expert_linear with the same routes, slots and type}}
  %y = qp.expert_linear %x, %r, [%w] onto %o ["e"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c3]
func.func @other_routes(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %s: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  %a = qp.expert_linear %x, %r, [%w] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  // expected-error @+1 {{goes on from an expert_linear with the same routes, slots and type}}
  %y = qp.expert_linear %x, %s, [%w] onto %a ["e.1"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c4]
func.func @expert_twice(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  %a = qp.expert_linear %x, %r, [%w] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  // expected-error @+1 {{its chain has expert 0 twice}}
  %y = qp.expert_linear %x, %r, [%w] onto %a ["e.1"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c4]
func.func @expert_missing(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  %a = qp.expert_linear %x, %r, [%w] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  // expected-error @+1 {{its chain must have every expert: expected 0 to 2, found 2 up to 2}}
  %y = qp.expert_linear %x, %r, [%w] onto %a ["e.2"] {numbers = array<i64: 2>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c4]
func.func @expert_below_0(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{numbers of experts are 0 or more, found -1}}
  %y = qp.expert_linear %x, %r, [%w] ["e"] {numbers = array<i64: -1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  return
}

// -----

// [expert_linear-c4]
func.func @too_few_experts(%x: tensor<?x64xf32>, %l: tensor<?x4xf32>, %w: tensor<8x64xf32>) {
  %s, %r = qp.route softmax_of_chosen %l {top_k = 2 : i64} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  // expected-error @+1 {{its chain must have every expert: expected 0 to 3, found 1 up to 0}}
  %y = qp.expert_linear %x, %r, [%w] ["e"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  return
}

// -----

// [attention-c3]
func.func @cache_format(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{keys and values cannot be cached in "q4_K"; choose one of int4, fp8, fp8_head, f32, f16, bf16, int8}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64, kv_format = "q4_K"} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @unknown_cache_format(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{unknown format "int9"}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64, kv_format = "int9"} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// -----

// [attention-c4]
func.func @scales_of_dynamic_format(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{takes no scales: int8 finds its own when it stores}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64, kv_format = "int8", key_scales = array<f64: 1.0>} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @number_of_scales(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{needs one scale, or one for each of the 2 heads, found 3}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64, kv_format = "fp8_e4m3_head", value_scales = array<f64: 1.0, 1.0, 1.0>} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @scale_zero(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // expected-error @+1 {{scales must be positive numbers of f32, found 0.000000e+00}}
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64, kv_format = "fp8_e4m3_tensor", key_scales = array<f64: 0.0>} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}
