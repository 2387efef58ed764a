// RUN: qplan-opt %s -split-input-file -qp-fuse | FileCheck %s

// q, k and v: packed operands, one stacked linear.
// CHECK-LABEL: func.func @stacks(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @stacks(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]]
  // CHECK-NOT: qp.dequantize
  // CHECK: %[[AQ:.+]] = qp.quantize %{{.+}} : tensor<8x64xf32> -> <8x64, int8>
  // CHECK: %[[BQ:.+]] = qp.quantize %{{.+}} : tensor<8x64xf32> -> <8x64, int8>
  // CHECK: %[[Y:.+]]:2 = qp.fused_linear %[[XQ]], [%[[AQ]], %[[BQ]]] ["q", "k"]
  // CHECK: qp.add %[[Y]]#0, %[[Y]]#1
  %xq = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
  %xd = qp.dequantize %xq : !qp.packed<?x64, int8_token> -> tensor<?x64xf32>
  %a = qp.weight "a" : tensor<8x64xf32>
  %aq = qp.quantize %a : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %ad = qp.dequantize %aq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %0 = qp.linear %xd, %ad {site = "q"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %b = qp.weight "b" : tensor<8x64xf32>
  %bq = qp.quantize %b : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %bd = qp.dequantize %bq : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %1 = qp.linear %xd, %bd {site = "k"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %y = qp.add %0, %1 : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Outlier columns go with the codes into one stacked linear, and through a residual sum.
// CHECK-LABEL: func.func @outliers(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @outliers(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]] {threshold
  // CHECK-NOT: qp.dequantize
  // CHECK: %[[O:.+]] = qp.outliers %[[X]]
  // CHECK-NOT: qp.add
  // CHECK: qp.fused_linear %[[XQ]], [%{{.+}}] residual %[[X]] outliers %[[O]] ["q"]
  // CHECK-NOT: qp.add
  %xq = qp.quantize %x {threshold = 6.0 : f64} : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
  %xd = qp.dequantize %xq : !qp.packed<?x64, int8_token> -> tensor<?x64xf32>
  %o = qp.outliers %x {threshold = 6.0 : f64} : tensor<?x64xf32>
  %s = qp.add %xd, %o : tensor<?x64xf32>
  %a = qp.weight "a" : tensor<64x64xf32>
  %aq = qp.quantize %a : tensor<64x64xf32> -> !qp.packed<64x64, int8>
  %ad = qp.dequantize %aq : !qp.packed<64x64, int8> -> tensor<64x64xf32>
  %0 = qp.linear %s, %ad {site = "q"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %y = qp.add %x, %0 : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Other formats, other methods, and biases on one side only keep linears apart.
// CHECK-LABEL: func.func @differs(
func.func @differs(%x: tensor<?x64xf32>, %v: tensor<8xf32>) {
  // CHECK-COUNT-3: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<8x64, int8>]{{.*}} -> tensor<?x8xf32>{{$}}
  // CHECK: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<8x64, int4_g32>] -> tensor<?x8xf32>
  %a = qp.weight "a" : tensor<8x64xf32>
  %max = qp.quantize %a : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %maxd = qp.dequantize %max : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %mse = qp.quantize %a {method = "mse"} : tensor<8x64xf32> -> !qp.packed<8x64, int8>
  %msed = qp.dequantize %mse : !qp.packed<8x64, int8> -> tensor<8x64xf32>
  %g = qp.quantize %a : tensor<8x64xf32> -> !qp.packed<8x64, int4_g32>
  %gd = qp.dequantize %g : !qp.packed<8x64, int4_g32> -> tensor<8x64xf32>
  %0 = qp.linear %x, %maxd {site = "a"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %1 = qp.linear %x, %msed {site = "b"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %2 = qp.linear %x, %maxd, %v {site = "c"} : tensor<?x64xf32>, tensor<8x64xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %3 = qp.linear %x, %gd {site = "d"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return
}

// -----

// The sum goes into the linear; rows in fp8 are not multiplied in integers.
// CHECK-LABEL: func.func @residual(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>, %[[R:.+]]: tensor<?x8xf32>
func.func @residual(%x: tensor<?x64xf32>, %r: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[XD:.+]] = qp.dequantize
  // CHECK: %[[W:.+]] = qp.quantize %{{.+}} -> <8x64, fp8_e4m3>
  // CHECK: %[[Y:.+]] = qp.fused_linear %[[XD]], [%[[W]]] residual %[[R]] ["o"] {scale = 2.200000e-01 : f64}
  // CHECK-NOT: qp.add
  // CHECK: return %[[Y]]
  %xq = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, fp8_e4m3_token>
  %xd = qp.dequantize %xq : !qp.packed<?x64, fp8_e4m3_token> -> tensor<?x64xf32>
  %a = qp.weight "a" : tensor<8x64xf32>
  %aq = qp.quantize %a : tensor<8x64xf32> -> !qp.packed<8x64, fp8_e4m3>
  %ad = qp.dequantize %aq : !qp.packed<8x64, fp8_e4m3> -> tensor<8x64xf32>
  %0 = qp.linear %xd, %ad {site = "o"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %y = qp.add %r, %0 {scale = 0.22 : f64} : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Norms and gated products give codes when all their readers want those.
// CHECK-LABEL: func.func @packs(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>, %[[G:.+]]: tensor<64xf32>
func.func @packs(%x: tensor<?x64xf32>, %g: tensor<64xf32>) -> tensor<?x64xf32> {
  // CHECK: %[[N:.+]] = qp.rms_norm %[[X]], %[[G]] {{.*}} -> !qp.packed<?x64, int8_b32>
  // CHECK: %[[U:.+]]:2 = qp.fused_linear %[[N]]
  // CHECK: %[[M:.+]] = qp.gated silu %[[U]]#0, %[[U]]#1 : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  // CHECK: qp.fused_linear %[[M]]
  %w = qp.weight "w" : !qp.packed<64x64, q4_0>
  %d = qp.dequantize %w : !qp.packed<64x64, q4_0> -> tensor<64x64xf32>
  %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %nq = qp.quantize %n : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  %nd = qp.dequantize %nq : !qp.packed<?x64, int8_b32> -> tensor<?x64xf32>
  %0 = qp.linear %nd, %d {site = "gate"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %1 = qp.linear %nd, %d {site = "up"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %m = qp.gated silu %0, %1 : tensor<?x64xf32> -> tensor<?x64xf32>
  %mq = qp.quantize %m : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  %md = qp.dequantize %mq : !qp.packed<?x64, int8_b32> -> tensor<?x64xf32>
  %y = qp.linear %md, %d {site = "down"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Tensors of mixed widths lie below each other where the first ends with a panel of 16 rows, and so
// do those of which each chose its own element.
// CHECK-LABEL: func.func @mixed_widths(
func.func @mixed_widths(%x: tensor<?x64xf32>) {
  // CHECK: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<32x64, mix4_5>, !qp.packed<16x64, mix4_5>]
  // CHECK: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<24x64, mix4_5>] -> tensor<?x24xf32>
  %a = qp.weight "a" : !qp.packed<32x64, mix4_5>
  %ad = qp.dequantize %a : !qp.packed<32x64, mix4_5> -> tensor<32x64xf32>
  %0 = qp.linear %x, %ad {site = "q"} : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
  %b = qp.weight "b" : !qp.packed<24x64, mix4_5>
  %bd = qp.dequantize %b : !qp.packed<24x64, mix4_5> -> tensor<24x64xf32>
  %1 = qp.linear %x, %bd {site = "k"} : tensor<?x64xf32>, tensor<24x64xf32> -> tensor<?x24xf32>
  %c = qp.weight "c" : !qp.packed<16x64, mix4_5>
  %cd = qp.dequantize %c : !qp.packed<16x64, mix4_5> -> tensor<16x64xf32>
  %2 = qp.linear %x, %cd {site = "v"} : tensor<?x64xf32>, tensor<16x64xf32> -> tensor<?x16xf32>
  return
}

// CHECK-LABEL: func.func @chosen_elements(
func.func @chosen_elements(%x: tensor<?x64xf32>) {
  // CHECK: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<32x64, llm_fp4>, !qp.packed<16x64, llm_fp4>]
  // CHECK: qp.fused_linear %{{[^:]+}} : tensor<?x64xf32>, [!qp.packed<24x64, llm_fp4>] -> tensor<?x24xf32>
  %a = qp.weight "a" : !qp.packed<32x64, llm_fp4>
  %ad = qp.dequantize %a : !qp.packed<32x64, llm_fp4> -> tensor<32x64xf32>
  %0 = qp.linear %x, %ad {site = "q"} : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
  %b = qp.weight "b" : !qp.packed<24x64, llm_fp4>
  %bd = qp.dequantize %b : !qp.packed<24x64, llm_fp4> -> tensor<24x64xf32>
  %1 = qp.linear %x, %bd {site = "k"} : tensor<?x64xf32>, tensor<24x64xf32> -> tensor<?x24xf32>
  %c = qp.weight "c" : !qp.packed<16x64, llm_fp4>
  %cd = qp.dequantize %c : !qp.packed<16x64, llm_fp4> -> tensor<16x64xf32>
  %2 = qp.linear %x, %cd {site = "v"} : tensor<?x64xf32>, tensor<16x64xf32> -> tensor<?x16xf32>
  return
}
