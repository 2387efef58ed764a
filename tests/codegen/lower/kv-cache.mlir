// RUN: qplan-opt %s -split-input-file -qp-to-plan="page-tokens=32" | FileCheck %s

// int4_g32_asym: of each vector of 64 columns 32 bytes of codes, two f16 scales, one byte of
// zero points; 2 * 2 vectors a position.
// CHECK-LABEL: plan.program @grouped
// CHECK-SAME: kv_format = "int4_g32_asym", kv_page_bytes = 4736 : i64, kv_page_tokens = 32 : i64
// CHECK: plan.launch "kv_store" (@{{.+}}) weights ()
// CHECK-SAME: kvElement = 3 : i64, kvFixed = 0 : i64, kvGroup = 32 : i64, kvHeads = 2 : i64, kvScale = 1 : i64, kvZero = 1 : i64
// CHECK: plan.launch "attention" (@{{.+}}) weights ()
// CHECK-SAME: kvElement = 3 : i64, kvFixed = 0 : i64, kvGroup = 32 : i64, kvHeads = 2 : i64, kvScale = 1 : i64, kvZero = 1 : i64
// An observer of keys reads their columns of the shared buffer.
// CHECK: plan.launch "observe"
module attributes {qp.model = {name = "grouped", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 1 : i64, kv_format = "int4_g32_asym"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x256xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %wq = qp.weight "q" : tensor<256x64xf32>
    %wk = qp.weight "k" : tensor<128x64xf32>
    %wv = qp.weight "v" : tensor<128x64xf32>
    %qkv:3 = qp.fused_linear %x, [%wq, %wk, %wv] ["layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"] : tensor<?x64xf32>, [tensor<256x64xf32>, tensor<128x64xf32>, tensor<128x64xf32>] -> tensor<?x256xf32>, tensor<?x128xf32>, tensor<?x128xf32>
    %a = qp.attention %qkv#0, %qkv#1, %qkv#2 {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, scale = 0.5 : f64, kv_format = "int4_g32_asym"} : tensor<?x256xf32>, tensor<?x128xf32> -> tensor<?x256xf32>
    qp.observe %qkv#1, "layers.0.attn.k_cache" : tensor<?x128xf32>
    return %a : tensor<?x256xf32>
  }
}

// -----

// Fixed scales are a weight: of the heads' keys, then of their values.
// CHECK-LABEL: plan.program @fixed
// CHECK-SAME: kv_page_bytes = 4096 : i64
// CHECK: plan.weight @[[S:[a-z0-9]+]] {{.*}}details = {values = array<f64: 5.000000e-01, 5.000000e-01, 1.000000e+00, 2.000000e+00>}
// CHECK: plan.launch "kv_store" (@{{.+}}) weights (@[[S]])
// CHECK-SAME: kvElement = 5 : i64, kvFixed = 1 : i64, kvGroup = 32 : i64, kvHeads = 2 : i64, kvScale = 0 : i64, kvZero = 0 : i64
// CHECK: plan.launch "attention" (@{{.+}}) weights (@[[S]])
module attributes {qp.model = {name = "fixed", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 1 : i64, kv_format = "fp8_e4m3_head"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %w = qp.weight "w" : tensor<64x64xf32>
    %qkv:3 = qp.fused_linear %x, [%w, %w, %w] ["layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"] : tensor<?x64xf32>, [tensor<64x64xf32>, tensor<64x64xf32>, tensor<64x64xf32>] -> tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
    %a = qp.attention %qkv#0, %qkv#1, %qkv#2 {layer = 0 : i64, heads = 2 : i64, kv_heads = 2 : i64, head_dim = 32 : i64, scale = 0.5 : f64, kv_format = "fp8_e4m3_head", key_scales = array<f64: 0.5>, value_scales = array<f64: 1.0, 2.0>} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
    return %a : tensor<?x64xf32>
  }
}
