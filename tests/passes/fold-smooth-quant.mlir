// RUN: qplan-opt %s -qp-fold-smooth-quant | FileCheck %s

// Sites without the method are left alone, whatever else they are treated with.
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[W:.+]] = qp.weight "w" : tensor<8x64xf32>
  // CHECK-NEXT: %[[A:.+]] = qp.linear %[[X]], %[[W]] {qp.treatment = "int8a8", site = "s"}
  // CHECK-NEXT: %[[B:.+]] = qp.linear %[[X]], %[[W]] {site = "t"}
  // CHECK-NEXT: qp.add %[[A]], %[[B]]
  %w = qp.weight "w" : tensor<8x64xf32>
  %a = qp.linear %x, %w {site = "s", qp.treatment = "int8a8"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %b = qp.linear %x, %w {site = "t"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %y = qp.add %a, %b : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
