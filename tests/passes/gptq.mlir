// RUN: qplan-opt %s -qp-insert-qdq -qp-fuse | FileCheck %s

// Weights that GPTQ has rounded are blobs in their format: they are not rounded again, and
// not stacked with weights that are still to be rounded to the same format.
// CHECK-LABEL: func.func @forward(
func.func @forward(%x: tensor<?x64xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %a = qp.weight "blob:00112233445566778899aabbccddeeff" : !qp.packed<8x64, int4_g32>
  %b = qp.weight "blob:ffeeddccbbaa99887766554433221100" : !qp.packed<8x64, int4_g32>
  %c = qp.weight "c" : tensor<8x64xf32>
  %da = qp.dequantize %a : !qp.packed<8x64, int4_g32> -> tensor<8x64xf32>
  %db = qp.dequantize %b : !qp.packed<8x64, int4_g32> -> tensor<8x64xf32>
  // CHECK: %[[A:.+]] = qp.weight "blob:00
  // CHECK: %[[B:.+]] = qp.weight "blob:ff
  // CHECK: %[[C:.+]] = qp.weight "c"
  // CHECK: %[[Q:.+]] = qp.quantize %[[C]]
  // CHECK-NOT: qp.quantize
  // CHECK-DAG: qp.fused_linear %{{.+}}, [%[[A]], %[[B]]]
  // CHECK-DAG: qp.fused_linear %{{.+}}, [%[[Q]]]
  %y = qp.linear %x, %da {site = "layers.0.attn.q", qp.treatment = "int4_g32@gptq"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %z = qp.linear %x, %db {site = "layers.0.attn.k", qp.treatment = "int4_g32@gptq"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  %v = qp.linear %x, %c {site = "layers.0.attn.v", qp.treatment = "int4_g32"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y, %z, %v : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
