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
  %y = qp.expert_linear %x, %r, [%w] {site = "e"} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x32xf32>] -> tensor<?x8xf32>
  return
}

// -----

func.func @no_experts(%x: tensor<?x64xf32>, %r: tensor<?x2xi32>) {
  // expected-error @+1 {{needs at least one expert}}
  %y = "qp.expert_linear"(%x, %r) <{site = "e"}> : (tensor<?x64xf32>, tensor<?x2xi32>) -> tensor<?x8xf32>
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
