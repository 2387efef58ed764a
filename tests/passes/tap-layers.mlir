// RUN: qplan-opt %s -split-input-file -qp-tap-layers | FileCheck %s

// A layer ends behind its sums: where one value of rows is alive, not at its last site.
// CHECK-LABEL: func.func @residual(
func.func @residual(%ids: tensor<?xi32>) -> tensor<?x8xf32> {
  %t = qp.weight "t" : tensor<96x8xf32>
  %w = qp.weight "w" : tensor<8x8xf32>
  %n = qp.weight "n" : tensor<8xf32>
  %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x8xf32> -> tensor<?x8xf32>
  %a = qp.linear %x, %w {site = "layers.0.mlp.down"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[SUM:.+]] = qp.add
  // CHECK-NEXT: qp.observe %[[SUM]], "layers.0" {keep_rows} : tensor<?x8xf32>
  %s = qp.add %x, %a : tensor<?x8xf32>
  %h = qp.rms_norm %s, %n {epsilon = 1.0e-5 : f64} : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %b = qp.linear %h, %w {site = "layers.1.mlp.down"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[LAST:.+]] = qp.add
  // CHECK-NEXT: qp.observe %[[LAST]], "layers.1" {keep_rows}
  // CHECK-NOT: qp.observe
  %r = qp.add %s, %b : tensor<?x8xf32>
  %f = qp.rms_norm %r, %n {epsilon = 1.0e-5 : f64} : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %y = qp.linear %f, %w {site = "lm_head"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Two values go on to the next layer: it has no single output, and no tap.
// CHECK-LABEL: func.func @two_streams(
// CHECK-NOT: "layers.0"
// CHECK: "layers.1"
func.func @two_streams(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x8xf32>
  %a = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %b = qp.linear %x, %w {site = "layers.0.mlp.down"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %c = qp.linear %b, %w {site = "layers.1.mlp.down"} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %s = qp.add %a, %c : tensor<?x8xf32>
  return %s : tensor<?x8xf32>
}
