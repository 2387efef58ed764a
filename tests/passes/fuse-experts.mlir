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
  %y = qp.expert_linear %xd, %routes, [%wd, %wd] ["e"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Experts whose weights and rows are treated alike become one op, whatever lies between them;
// the last one of the chain is read as before.
// CHECK-LABEL: func.func @experts(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>, %[[ROUTES:.+]]: tensor<?x2xi32>
func.func @experts(%x: tensor<?x64xf32>, %routes: tensor<?x2xi32>) -> tensor<?x8xf32> {
  // CHECK: %[[A:.+]] = qp.weight "a"
  // CHECK: %[[AQ:.+]] = qp.quantize %[[A]]
  // CHECK: %[[B:.+]] = qp.weight "b"
  // CHECK: %[[C:.+]] = qp.weight "c"
  // CHECK: %[[D:.+]] = qp.weight "d"
  // CHECK: %[[DQ:.+]] = qp.quantize %[[D]]
  // CHECK: %[[E:.+]] = qp.weight "e"
  // CHECK: %[[EQ:.+]] = qp.quantize %[[E]] {method = "mse"}
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]]
  // CHECK: %[[R0:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[AQ]], %[[DQ]]] ["e.0", "e.3"] {numbers = array<i64: 0, 3>}
  // CHECK-NEXT: %[[R1:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[B]]] onto %[[R0]] ["e.1"] {numbers = array<i64: 1>}
  // CHECK-NEXT: %[[R2:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[C]]] onto %[[R1]] ["e.2"] {numbers = array<i64: 2>}
  // CHECK-NEXT: %[[R3:.+]] = qp.expert_linear %[[X]], %[[ROUTES]], [%[[EQ]]] onto %[[R2]] ["e.4"] {numbers = array<i64: 4>}
  // CHECK-NEXT: %[[R4:.+]] = qp.expert_linear %[[XQ]], %[[ROUTES]], [%[[AQ]]] onto %[[R3]] ["e.5"] {numbers = array<i64: 5>}
  // CHECK-NEXT: return %[[R4]]
  %a = qp.weight "a" : tensor<8x64xf32>
  %aq = qp.quantize %a : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %ad = qp.dequantize %aq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %b = qp.weight "b" : tensor<8x64xf32>
  %c = qp.weight "c" : !qp.packed<8x64, int8>
  %cd = qp.dequantize %c : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %0 = qp.expert_linear %x, %routes, [%ad] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] -> tensor<?x8xf32>
  %1 = qp.expert_linear %x, %routes, [%b] onto %0 ["e.1"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  %2 = qp.expert_linear %x, %routes, [%cd] onto %1 ["e.2"] {numbers = array<i64: 2>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  %d = qp.weight "d" : tensor<8x64xf32>
  %dq = qp.quantize %d : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %dd = qp.dequantize %dq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %3 = qp.expert_linear %x, %routes, [%dd] onto %2 ["e.3"] {numbers = array<i64: 3>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  %e = qp.weight "e" : tensor<8x64xf32>
  %eq = qp.quantize %e {method = "mse"} : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %ed = qp.dequantize %eq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %4 = qp.expert_linear %x, %routes, [%ed] onto %3 ["e.4"] {numbers = array<i64: 4>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  %xq = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
  %xd = qp.dequantize %xq : !qp.packed<?x64, int8_token> -> tensor<?x64xf32>
  %5 = qp.expert_linear %xd, %routes, [%ad] onto %4 ["e.5"] {numbers = array<i64: 5>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xf32>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return %5 : tensor<?x8xf32>
}

// -----

// All alike are the bank again.
// CHECK-LABEL: func.func @uniform(
// CHECK: qp.expert_linear %{{.+}}, %{{.+}}, [%{{.+}}, %{{.+}}] ["e.0", "e.1"] :
// CHECK-NOT: qp.expert_linear
func.func @uniform(%x: tensor<?x64xf32>, %routes: tensor<?x2xi32>, %a: tensor<8x64xbf16>, %b: tensor<8x64xbf16>) -> tensor<?x8xf32> {
  %0 = qp.expert_linear %x, %routes, [%a] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xbf16>] -> tensor<?x8xf32>
  %1 = qp.expert_linear %x, %routes, [%b] onto %0 ["e.1"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<8x64xbf16>] onto tensor<?x8xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
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
