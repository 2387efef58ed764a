// RUN: qplan-opt %s -qp-insert-observers | FileCheck %s

// Linears that read one value share the observer of the first; the embedding reads ids.
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: %[[IDS:.+]]: tensor<?xi32>
func.func @forward(%ids: tensor<?xi32>) -> tensor<?x8xf32> {
  %t = qp.weight "t" : tensor<96x8xf32>
  %w = qp.weight "w" : tensor<8x8xf32>
  // CHECK: %[[X:.+]] = qp.embedding %[[IDS]]
  %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x8xf32> -> tensor<?x8xf32>
  // CHECK-NEXT: qp.observe %[[X]], "layers.0.mlp.gate" : tensor<?x8xf32>
  // CHECK-NEXT: %[[G:.+]] = qp.linear %[[X]]
  %g = qp.linear %x, %w {site = "layers.0.mlp.gate"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK-NEXT: %[[U:.+]] = qp.linear %[[X]]
  %u = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK-NEXT: %[[M:.+]] = qp.gated silu %[[G]], %[[U]]
  %m = qp.gated silu %g, %u : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK-NEXT: qp.observe %[[M]], "lm_head" : tensor<?x8xf32>
  // CHECK-NEXT: qp.linear %[[M]]
  %y = qp.linear %m, %w {site = "lm_head"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Keys and values are watched where they enter the cache.
// CHECK-LABEL: func.func @cache(
// CHECK: qp.observe %[[K:.+]], "layers.2.attn.k_cache" : tensor<?x16xf32>
// CHECK-NEXT: qp.observe %[[V:.+]], "layers.2.attn.v_cache" : tensor<?x16xf32>
// CHECK-NEXT: qp.attention %{{.+}}, %[[K]], %[[V]]
func.func @cache(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>) -> tensor<?x32xf32> {
  %y = qp.attention %q, %k, %v {layer = 2 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1.0 : f64} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
