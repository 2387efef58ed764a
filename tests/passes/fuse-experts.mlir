// RUN: qplan-opt %s -split-input-file -qp-fuse | FileCheck %s

// A bank of experts and the embedding take packed weights; the bank's rows as well.
// CHECK-LABEL: func.func @bank(
// CHECK-SAME: %[[IDS:.+]]: tensor<?xi32>, %[[ROUTES:.+]]: tensor<?x2xi32>
func.func @bank(%ids: tensor<?xi32>, %routes: tensor<?x2xi32>) -> tensor<?x8xf32> {
  // CHECK: %[[T:.+]] = qp.quantize %{{.+}} -> <96x64, int8>
  // CHECK: %[[W:.+]] = qp.quantize %{{.+}} -> <8x64, int8>
  // CHECK: %[[X:.+]] = qp.embedding %[[IDS]], %[[T]] : tensor<?xi32>, !qp.packed<96x64, int8>
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]]
  // CHECK: qp.expert_linear %[[XQ]], %[[ROUTES]], [%[[W]], %[[W]]]
  // CHECK-NOT: qp.dequantize
  %t = qp.weight "t" : tensor<96x64xf32>
  %tq = qp.quantize %t : tensor<96x64xf32> -> !qp.packed<96x64, int8>
  %td = qp.dequantize %tq : !qp.packed<96x64, int8> -> tensor<96x64xf32>
  %w = qp.weight "w" : tensor<8x64xf32>
  %wq = qp.quantize %w : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %wd = qp.dequantize %wq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %x = qp.embedding %ids, %td : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
  %xq = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
  %xd = qp.dequantize %xq : !qp.packed<?x64, int8_token> -> tensor<?x64xf32>
  %y = qp.expert_linear %xd, %routes, [%wd, %wd] {site = "e"} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// A norm that something else reads as well keeps its f32 rows.
// CHECK-LABEL: func.func @two_readers(
func.func @two_readers(%x: tensor<?x64xf32>, %g: tensor<64xf32>) -> tensor<?x64xf32> {
  // CHECK: %[[N:.+]] = qp.rms_norm {{.*}} -> tensor<?x64xf32>
  // CHECK: %[[NQ:.+]] = qp.quantize %[[N]]
  // CHECK: qp.fused_linear %[[NQ]], [%{{.+}}] residual %[[N]] ["s"]
  %w = qp.weight "w" : !qp.packed<64x64, q8_0>
  %d = qp.dequantize %w : !qp.packed<64x64, q8_0> -> tensor<64x64xf32>
  %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %nq = qp.quantize %n : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  %nd = qp.dequantize %nq : !qp.packed<?x64, int8_b32> -> tensor<?x64xf32>
  %0 = qp.linear %nd, %d {site = "s"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %y = qp.add %n, %0 : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
