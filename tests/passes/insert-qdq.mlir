// RUN: qplan-opt %s -split-input-file -qp-insert-qdq | FileCheck %s

// Inputs quantized alike are quantized once, weights once each.
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[A:.+]] = qp.weight "a" : tensor<8x64xbf16>
  // CHECK: %[[AQ:.+]] = qp.quantize %[[A]] {method = "mse"} : tensor<8x64xbf16> -> <8x64, int4_g32>
  // CHECK: %[[AD:.+]] = qp.dequantize %[[AQ]] : <8x64, int4_g32> -> tensor<8x64xf32>
  %a = qp.weight "a" : tensor<8x64xbf16>
  // CHECK: %[[B:.+]] = qp.weight "b" : tensor<8x64xf32>
  // CHECK: %[[BQ:.+]] = qp.quantize %[[B]] : tensor<8x64xf32> -> <8x64, int8>
  // CHECK: %[[BD:.+]] = qp.dequantize %[[BQ]]
  %b = qp.weight "b" : tensor<8x64xf32>
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]] : tensor<?x64xf32> -> <?x64, int8_token>
  // CHECK: %[[XD:.+]] = qp.dequantize %[[XQ]] : <?x64, int8_token> -> tensor<?x64xf32>
  // CHECK: qp.linear %[[XD]], %[[AD]] {qp.treatment = "int4_g32a8@mse", site = "s"}
  %0 = qp.linear %x, %a {site = "s", qp.treatment = "int4_g32a8@mse"} : tensor<?x64xf32>, tensor<8x64xbf16> -> tensor<?x8xf32>
  // CHECK-NOT: qp.quantize
  // CHECK: qp.linear %[[XD]], %[[BD]]
  %1 = qp.linear %x, %b {site = "t", qp.treatment = "int8a8"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  // A linear without a treatment, and one that keeps its format, stay as they are.
  // CHECK: qp.linear %[[X]], %[[B]] {site = "u"}
  %2 = qp.linear %x, %b {site = "u"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  // CHECK: qp.linear %[[X]], %[[B]] {qp.treatment = "f32", site = "v"}
  %3 = qp.linear %x, %b {site = "v", qp.treatment = "f32"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %s0 = qp.add %0, %1 : tensor<?x8xf32>
  %s1 = qp.add %2, %3 : tensor<?x8xf32>
  %s = qp.add %s0, %s1 : tensor<?x8xf32>
  return %s : tensor<?x8xf32>
}

// -----

// Blocks of the checkpoint in the wanted format are not rounded again; in another one
// they are, from the values they stand for.
// CHECK-LABEL: func.func @stored(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @stored(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[W:.+]] = qp.weight "w" : !qp.packed<8x64, q4_0>
  // CHECK: %[[D:.+]] = qp.dequantize %[[W]] : <8x64, q4_0>
  // CHECK: %[[Q:.+]] = qp.quantize %[[D]] : tensor<8x64xf32> -> <8x64, int8>
  // CHECK: %[[QD:.+]] = qp.dequantize %[[Q]]
  %w = qp.weight "w" : !qp.packed<8x64, q4_0>
  %d = qp.dequantize %w : !qp.packed<8x64, q4_0> -> tensor<8x64xf32>
  // CHECK: %[[XQ:.+]] = qp.quantize %[[X]] : tensor<?x64xf32> -> <?x64, int8_b32>
  // CHECK: %[[XD:.+]] = qp.dequantize %[[XQ]]
  // CHECK: qp.linear %[[XD]], %[[D]]
  %0 = qp.linear %x, %d {site = "s", qp.treatment = "q4_0"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  // CHECK: qp.linear %[[X]], %[[QD]]
  %1 = qp.linear %x, %d {site = "t", qp.treatment = "int8"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %s = qp.add %0, %1 : tensor<?x8xf32>
  return %s : tensor<?x8xf32>
}

// -----

// LLM.int8(): columns of large activations are no part of what is rounded.
// CHECK-LABEL: func.func @outliers(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @outliers(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[Q:.+]] = qp.quantize %[[X]] {threshold = 5.000000e+00 : f64} : tensor<?x64xf32> -> <?x64, int8_token>
  // CHECK: %[[D:.+]] = qp.dequantize %[[Q]]
  // CHECK: %[[O:.+]] = qp.outliers %[[X]] {threshold = 5.000000e+00 : f64}
  // CHECK: %[[S:.+]] = qp.add %[[D]], %[[O]]
  // CHECK: qp.linear %[[S]],
  %w = qp.weight "w" : tensor<8x64xf32>
  %0 = qp.linear %x, %w {site = "s", qp.treatment = "int8a8@llm_int8{threshold=5}"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// One table, read as rows and multiplied: stored once.
// CHECK-LABEL: func.func @tied(
// CHECK-SAME: %[[IDS:.+]]: tensor<?xi32>
func.func @tied(%ids: tensor<?xi32>) -> tensor<?x96xf32> {
  // CHECK: %[[T:.+]] = qp.weight "t"
  // CHECK-COUNT-1: qp.quantize %[[T]]
  // CHECK: %[[D:.+]] = qp.dequantize
  // CHECK-NEXT: %[[X:.+]] = qp.embedding %[[IDS]], %[[D]]
  // CHECK-NEXT: qp.linear %[[X]], %[[D]]
  %t = qp.weight "t" : tensor<96x64xf32>
  %x = qp.embedding %ids, %t {qp.treatment = "int8"} : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
  %y = qp.linear %x, %t {site = "lm_head", qp.treatment = "int8"} : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}
