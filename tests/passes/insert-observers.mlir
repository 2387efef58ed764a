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
