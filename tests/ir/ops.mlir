// RUN: qplan-opt %s | qplan-opt | FileCheck %s

// CHECK-LABEL: func.func @weights
func.func @weights() {
  // CHECK: %[[W:.+]] = qp.weight "a.weight|transpose|slice_rows(0,8)" : tensor<8x64xbf16>
  %w = qp.weight "a.weight|transpose|slice_rows(0,8)" : tensor<8x64xbf16>
  // CHECK: qp.weight "blk.0.ffn_up.weight" : !qp.packed<8x64, q4_0>
  %p = qp.weight "blk.0.ffn_up.weight" : !qp.packed<8x64, q4_0>
  // CHECK: %[[Q:.+]] = qp.quantize %[[W]] {method = "mse"} : tensor<8x64xbf16> -> <8x64, int4_g32>
  %q = qp.quantize %w {method = "mse"} : tensor<8x64xbf16> -> !qp.packed<8x64, int4_g32>
  // CHECK: qp.dequantize %[[Q]] : <8x64, int4_g32> -> tensor<8x64xf32>
  %d = qp.dequantize %q : !qp.packed<8x64, int4_g32> -> tensor<8x64xf32>
  return
}

// CHECK-LABEL: func.func @rows(
// CHECK-SAME: %[[IDS:.+]]: tensor<?xi32>, %[[V:.+]]: tensor<64xf32>, %[[T:.+]]: tensor<96x64xf16>)
func.func @rows(%ids: tensor<?xi32>, %v: tensor<64xf32>, %t: tensor<96x64xf16>) -> tensor<?x64xf32> {
  // CHECK: %[[X:.+]] = qp.embedding %[[IDS]], %[[T]] {multiplier = 8.000000e+00 : f64} : tensor<?xi32>, tensor<96x64xf16> -> tensor<?x64xf32>
  %x = qp.embedding %ids, %t {multiplier = 8.0 : f64} : tensor<?xi32>, tensor<96x64xf16> -> tensor<?x64xf32>
  // CHECK: %[[P:.+]] = qp.position_embedding %[[X]], %[[T]] {offset = 2 : i64} : tensor<?x64xf32>, tensor<96x64xf16>
  %p = qp.position_embedding %x, %t {offset = 2 : i64} : tensor<?x64xf32>, tensor<96x64xf16>
  // CHECK: qp.observe %[[P]], "layers.0.attn.q" : tensor<?x64xf32>
  qp.observe %p, "layers.0.attn.q" : tensor<?x64xf32>
  // CHECK: qp.outliers %[[P]] {threshold = 6.000000e+00 : f64} : tensor<?x64xf32>
  %outliers = qp.outliers %p {threshold = 6.0 : f64} : tensor<?x64xf32>
  // CHECK: qp.quantize %[[P]] {threshold = 6.000000e+00 : f64} : tensor<?x64xf32> -> <?x64, int8_token>
  %inliers = qp.quantize %p {threshold = 6.0 : f64} : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
  // CHECK: %[[N:.+]] = qp.rms_norm %[[P]], %[[V]] {epsilon = 1.000000e-05 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %n = qp.rms_norm %p, %v {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  // CHECK: qp.rms_norm %[[N]], %[[V]] {epsilon = {{.*}}, gamma_offset = {{.*}}} : {{.*}} -> !qp.packed<?x64, int8_token>
  %np = qp.rms_norm %n, %v {epsilon = 1.0e-5 : f64, gamma_offset = 1.0 : f64} : tensor<?x64xf32>, tensor<64xf32> -> !qp.packed<?x64, int8_token>
  // CHECK: %[[L:.+]] = qp.layer_norm %[[N]], %[[V]] {epsilon = {{.*}}} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %l = qp.layer_norm %n, %v {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  // CHECK: %[[B:.+]] = qp.layer_norm %[[L]], %[[V]], %[[V]] {epsilon = {{.*}}} : tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %b = qp.layer_norm %l, %v, %v {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  // CHECK: %[[A:.+]] = qp.add %[[B]], %[[X]] {scale = 2.200000e-01 : f64} : tensor<?x64xf32>
  %a = qp.add %b, %x {scale = 0.22 : f64} : tensor<?x64xf32>
  // CHECK: %[[G:.+]] = qp.gated silu %[[A]], %[[B]] : tensor<?x64xf32> -> tensor<?x64xf32>
  %g = qp.gated silu %a, %b : tensor<?x64xf32> -> tensor<?x64xf32>
  // CHECK: qp.gated gelu_tanh %[[A]], %[[B]] : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  %gp = qp.gated gelu_tanh %a, %b : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  // CHECK: %[[F:.+]] = qp.pointwise gelu_erf %[[G]] : tensor<?x64xf32>
  %f = qp.pointwise gelu_erf %g : tensor<?x64xf32>
  // CHECK: %[[C:.+]] = qp.scale_columns %[[F]], %[[V]] : tensor<?x64xf32>, tensor<64xf32>
  %c = qp.scale_columns %f, %v : tensor<?x64xf32>, tensor<64xf32>
  // CHECK: %[[H:.+]] = qp.rotate %[[C]] {block = 32 : i64} : tensor<?x64xf32>
  %h = qp.rotate %c {block = 32 : i64} : tensor<?x64xf32>
  // CHECK: %[[S:.+]] = qp.select_rows %[[H]] : tensor<?x64xf32>
  %s = qp.select_rows %h : tensor<?x64xf32>
  // CHECK: %[[M:.+]] = qp.scale %[[S]] {value = 1.250000e-01 : f64} : tensor<?x64xf32>
  %m = qp.scale %s {value = 0.125 : f64} : tensor<?x64xf32>
  // CHECK: qp.softcap %[[M]] {cap = 3.000000e+01 : f64} : tensor<?x64xf32>
  %y = qp.softcap %m {cap = 30.0 : f64} : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @linears(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>, %[[P:.+]]: !qp.packed<?x64, int8_token>, %[[W:.+]]: !qp.packed<8x64, int8>, %[[B:.+]]: tensor<8xf32>, %[[R:.+]]: tensor<?x8xf32>)
func.func @linears(%x: tensor<?x64xf32>, %p: !qp.packed<?x64, int8_token>, %w: !qp.packed<8x64, int8>, %b: tensor<8xf32>, %r: tensor<?x8xf32>) {
  // CHECK: qp.linear %[[X]], %[[W]] {site = "s"} : tensor<?x64xf32>, !qp.packed<8x64, int8> -> tensor<?x8xf32>
  %0 = qp.linear %x, %w {site = "s"} : tensor<?x64xf32>, !qp.packed<8x64, int8> -> tensor<?x8xf32>
  // CHECK: qp.linear %[[X]], %[[W]], %[[B]] {site = "s"} : tensor<?x64xf32>, !qp.packed<8x64, int8>, tensor<8xf32> -> tensor<?x8xf32>
  %1 = qp.linear %x, %w, %b {site = "s"} : tensor<?x64xf32>, !qp.packed<8x64, int8>, tensor<8xf32> -> tensor<?x8xf32>
  // CHECK: qp.fused_linear %[[P]], [%[[W]], %[[W]]] bias[%[[B]], %[[B]]] ["q", "k"] : !qp.packed<?x64, int8_token>, [!qp.packed<8x64, int8>, !qp.packed<8x64, int8>] bias[tensor<8xf32>, tensor<8xf32>] -> tensor<?x8xf32>, tensor<?x8xf32>
  %2:2 = qp.fused_linear %p, [%w, %w] bias [%b, %b] ["q", "k"] : !qp.packed<?x64, int8_token>, [!qp.packed<8x64, int8>, !qp.packed<8x64, int8>] bias [tensor<8xf32>, tensor<8xf32>] -> tensor<?x8xf32>, tensor<?x8xf32>
  // CHECK: qp.fused_linear %[[P]], [%[[W]]] residual %[[R]] ["o"] {scale = 5.000000e-01 : f64} : !qp.packed<?x64, int8_token>, [!qp.packed<8x64, int8>] residual tensor<?x8xf32> -> tensor<?x8xf32>
  %3 = qp.fused_linear %p, [%w] residual %r ["o"] {scale = 0.5 : f64} : !qp.packed<?x64, int8_token>, [!qp.packed<8x64, int8>] residual tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// CHECK-LABEL: func.func @attention(
// CHECK-SAME: %[[Q:.+]]: tensor<?x32xf32>, %[[K:.+]]: tensor<?x16xf32>)
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>) {
  // CHECK: %[[R:.+]] = qp.rope %[[Q]] {attention_factor = {{.*}}, head_dim = 8 : i64, heads = 4 : i64, inverse_frequency = array<f64: 1.000000e+00, 1.000000e-01>, style = #qp<rope_style half>} : tensor<?x32xf32>
  %0 = qp.rope %q {heads = 4 : i64, head_dim = 8 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0, 0.1>, attention_factor = 1.5 : f64} : tensor<?x32xf32>
  // CHECK: qp.attention %[[R]], %[[K]], %[[K]] {head_dim = 8 : i64, heads = 4 : i64, kv_format = "bf16", kv_heads = 2 : i64, layer = 3 : i64, scale = {{.*}}, softcap = {{.*}}, window = 5 : i64} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  %1 = qp.attention %0, %k, %k {layer = 3 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 0.35 : f64, window = 5 : i64, softcap = 50.0 : f64, kv_format = "bf16"} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return
}

// CHECK-LABEL: func.func @experts(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>, %[[L:.+]]: tensor<?x4xf32>, %[[W:.+]]: tensor<8x64xf32>)
func.func @experts(%x: tensor<?x64xf32>, %l: tensor<?x4xf32>, %w: tensor<8x64xf32>) {
  // CHECK: %[[SHARES:.+]], %[[ROUTES:.+]] = qp.route softmax_of_chosen %[[L]] {top_k = 2 : i64} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %shares, %routes = qp.route softmax_of_chosen %l {top_k = 2 : i64} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  // CHECK: %[[Y:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[W]], %[[W]], %[[W]], %[[W]]] ["e"] {per_slot} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>, tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  %y = qp.expert_linear %x, %routes, [%w, %w, %w, %w] ["e"] {per_slot} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>, tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  // CHECK: qp.combine %[[Y]], %[[SHARES]] : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  %z = qp.combine %y, %shares : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  // CHECK: %[[ODD:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[W]], %[[W]]] ["e.1", "e.3"] {numbers = array<i64: 1, 3>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  %odd = qp.expert_linear %x, %routes, [%w, %w] ["e.1", "e.3"] {numbers = array<i64: 1, 3>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  // CHECK: qp.expert_linear %[[X]], %[[ROUTES]], [%[[W]], %[[W]]] onto %[[ODD]] ["e.0", "e.2"] {numbers = array<i64: 0, 2>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  %all = qp.expert_linear %x, %routes, [%w, %w] onto %odd ["e.0", "e.2"] {numbers = array<i64: 0, 2>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return
}
