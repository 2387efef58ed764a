// RUN: qplan-opt %s -qp-rotate="what=values+down" | FileCheck %s

// Value heads: rows of the value projection (and of its bias), columns of the output projection.
// CHECK-LABEL: func.func @heads(
// CHECK-SAME: %[[X:.+]]: tensor<?x64xf32>
func.func @heads(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %wq = qp.weight "q" : tensor<96x64xbf16>
  %wk = qp.weight "k" : tensor<48x64xbf16>
  // CHECK-DAG: %[[V:.+]] = qp.weight "v|rotate_rows(16)" : tensor<48x64xf32>
  // CHECK-DAG: %[[B:.+]] = qp.weight "b|rotate_rows(16)" : tensor<48xf32>
  // CHECK-DAG: %[[O:.+]] = qp.weight "o|rotate_columns(16)" : tensor<64x96xf32>
  %wv = qp.weight "v" : tensor<48x64xbf16>
  %bv = qp.weight "b" : tensor<48xbf16>
  %wo = qp.weight "o" : tensor<64x96xbf16>
  %q = qp.linear %x, %wq {site = "layers.0.attn.q"} : tensor<?x64xf32>, tensor<96x64xbf16> -> tensor<?x96xf32>
  %k = qp.linear %x, %wk {site = "layers.0.attn.k"} : tensor<?x64xf32>, tensor<48x64xbf16> -> tensor<?x48xf32>
  // CHECK: qp.linear %[[X]], %[[V]], %[[B]] {site = "layers.0.attn.v"}
  %v = qp.linear %x, %wv, %bv {site = "layers.0.attn.v"} : tensor<?x64xf32>, tensor<48x64xbf16>, tensor<48xbf16> -> tensor<?x48xf32>
  // CHECK: %[[A:.+]] = qp.attention
  %a = qp.attention %q, %k, %v {layer = 0, heads = 2, kv_heads = 1, head_dim = 48, scale = 0.25 : f64} : tensor<?x96xf32>, tensor<?x48xf32> -> tensor<?x96xf32>
  // CHECK-NEXT: qp.linear %[[A]], %[[O]] {site = "layers.0.attn.o"}
  %o = qp.linear %a, %wo {site = "layers.0.attn.o"} : tensor<?x96xf32>, tensor<64x96xbf16> -> tensor<?x64xf32>
  // Down: an op, and columns. 96 columns take blocks of 32.
  // CHECK: %[[G:.+]] = qp.gated silu
  // CHECK-NEXT: %[[H:.+]] = qp.rotate %[[G]] {block = 32 : i64} : tensor<?x96xf32>
  // CHECK: qp.linear %[[H]], %{{.+}} {site = "layers.0.mlp.down"}
  %g = qp.gated silu %q, %q : tensor<?x96xf32> -> tensor<?x96xf32>
  %wd = qp.weight "d" : tensor<64x96xbf16>
  %d = qp.linear %g, %wd {site = "layers.0.mlp.down"} : tensor<?x96xf32>, tensor<64x96xbf16> -> tensor<?x64xf32>
  %y = qp.add %o, %d : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
