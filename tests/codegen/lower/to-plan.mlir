// RUN: qplan-opt %s -qp-to-plan="max-tokens=16 page-tokens=32" | FileCheck %s

// One layer in the fused form. The tied table is one weight of two sites; query, key and
// value share a buffer, in which rotations work in place; the residual sum takes the place
// of its operand; logits go to the caller.
// CHECK-LABEL: plan.program @tiny attributes
// CHECK-SAME: kv_page_bytes = 2048 : i64, kv_page_tokens = 32 : i64, max_context = 64 : i64, max_tokens = 16 : i64
// CHECK: plan.weight @[[T:[a-z0-9]+]] {bytes = 6144 : i64, cols = 32 : i64, format = "f16", packing = "panel16", rows = 96 : i64, sites = ["embedding", "lm_head"], source = "t"}
// CHECK: plan.buffer @[[X:[a-z0-9]+]] {per_token = 128 : i64}
// CHECK: plan.launch "embed" (@[[X]]) weights (@[[T]])
// CHECK: plan.weight @[[G:[a-z0-9]+]] {{.*}}packing = "rows_f32"{{.*}}source = "g"
// CHECK: plan.buffer @[[N:[a-z0-9]+]] {per_token = 128 : i64}
// CHECK: plan.launch "rms_norm" (@[[X]], @[[N]]) weights (@[[G]])
// CHECK: plan.weight @[[QKV:[a-z0-9]+]] {{.*}}site_rows = array<i64: 32, 16, 16>{{.*}}source = "concat_rows(q;k;v)"
// CHECK: plan.buffer @[[H:[a-z0-9]+]] {per_token = 256 : i64}
// CHECK: plan.launch "linear_f32" (@[[N]], @[[H]], @[[H]]) weights (@[[QKV]], @[[QKV]])
// CHECK-SAME: reads [0] writes [1, 2] {sites = ["layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"]}
// CHECK: plan.buffer @[[ANGLES:[a-z0-9]+]] {per_token = 64 : i64}
// CHECK-COUNT-1: plan.launch "rope_table" (@[[ANGLES]])
// CHECK: plan.launch "rope" (@[[H]], @[[ANGLES]]) weights () params {column = 0 : i64
// CHECK: plan.launch "rope" (@[[H]], @[[ANGLES]]) weights () params {column = 32 : i64
// CHECK: plan.launch "kv_store" (@[[H]]) weights () params {column = 32 : i64
// CHECK-SAME: kvElement = 2 : i64
// CHECK-SAME: pageTokens = 32 : i64, vColumn = 48 : i64
// CHECK: plan.buffer @[[A:[a-z0-9]+]] {per_token = 128 : i64}
// Decoding attends in stretches: of 64 positions there is one.
// CHECK: plan.buffer @[[STATES:[a-z0-9]+]] {fixed = 4096 : i64}
// CHECK: plan.launch "attention" (@[[H]], @[[A]], @[[STATES]]) weights () params {column = 0 : i64
// CHECK-SAME: splitKeys = 128 : i64, splitRows = 8 : i64, splits = 1 : i64
// CHECK-SAME: reads [0] writes [1, 2]
// CHECK: plan.launch "attention_merge" (@[[STATES]], @[[A]])
// CHECK: plan.weight @[[O:[a-z0-9]+]] {{.*}}details = {method = "mse"}, format = "int4_g32"
// CHECK: plan.launch "linear_f32" (@[[A]], @[[X]], @[[X]]) weights (@[[O]], @[[O]])
// CHECK-SAME: alpha = 5.000000e-01 : f64
// CHECK-SAME: hasResidual = 1 : i64
// CHECK-SAME: reads [0, 2] writes [1]
// CHECK: plan.buffer @[[S:[a-z0-9]+]] {per_token = 128 : i64}
// CHECK: plan.launch "select_rows" (@[[X]], @[[S]])
// CHECK: plan.launch "linear_f32" (@[[S]], @[[S]], @[[S]]) weights (@[[T]], @[[T]])
// CHECK-SAME: rows = 1 : i64
// CHECK-SAME: toLogits = 1 : i64} reads [0, 1, 2] writes []
// CHECK: plan.launch "unary" (@[[S]], @[[S]]){{.*}}kind = 4 : i64{{.*}}toLogits = 1 : i64
// CHECK-NOT: func.func

module attributes {qp.model = {name = "tiny", vocabulary = 96 : i64, hidden = 32 : i64, context = 64 : i64, layers = 1 : i64, kv_format = "bf16"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x96xf32> {
    %t = qp.weight "t" : tensor<96x32xf16>
    %g = qp.weight "g" : tensor<32xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x32xf16> -> tensor<?x32xf32>
    %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64} : tensor<?x32xf32>, tensor<32xf32> -> tensor<?x32xf32>
    %wq = qp.weight "q" : tensor<32x32xf32>
    %wk = qp.weight "k" : tensor<16x32xf32>
    %wv = qp.weight "v" : tensor<16x32xf32>
    %qkv:3 = qp.fused_linear %n, [%wq, %wk, %wv] ["layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"] : tensor<?x32xf32>, [tensor<32x32xf32>, tensor<16x32xf32>, tensor<16x32xf32>] -> tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>
    %q = qp.rope %qkv#0 {heads = 4 : i64, head_dim = 8 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0, 0.1, 0.01, 0.001>} : tensor<?x32xf32>
    %k = qp.rope %qkv#1 {heads = 2 : i64, head_dim = 8 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0, 0.1, 0.01, 0.001>} : tensor<?x16xf32>
    %a = qp.attention %q, %k, %qkv#2 {layer = 0 : i64, heads = 4 : i64, kv_heads = 2 : i64, head_dim = 8 : i64, scale = 0.5 : f64, kv_format = "bf16"} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x32xf32>
    %wo = qp.weight "o" : tensor<32x32xf32>
    %oq = qp.quantize %wo {method = "mse"} : tensor<32x32xf32> -> !qp.packed<32x32, int4_g32>
    %o = qp.fused_linear %a, [%oq] residual %x ["layers.0.attn.o"] {scale = 0.5 : f64} : tensor<?x32xf32>, [!qp.packed<32x32, int4_g32>] residual tensor<?x32xf32> -> tensor<?x32xf32>
    %s = qp.select_rows %o : tensor<?x32xf32>
    %y = qp.fused_linear %s, [%t] ["lm_head"] : tensor<?x32xf32>, [tensor<96x32xf16>] -> tensor<?x96xf32>
    %c = qp.softcap %y {cap = 30.0 : f64} : tensor<?x96xf32>
    return %c : tensor<?x96xf32>
  }
}
