// RUN: qplan-opt %s | qplan-opt | FileCheck %s

// CHECK-LABEL: plan.program @tiny attributes
// CHECK-SAME: max_tokens = 16 : i64
plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // CHECK: plan.weight @w0 {bytes = 256 : i64, cols = 64 : i64, format = "f32", packing = "vector_f32", rows = 1 : i64, sites = ["norm"], source = "norm.weight|add(1)"}
  plan.weight @w0 {source = "norm.weight|add(1)", format = "f32", packing = "vector_f32",
    rows = 1 : i64, cols = 64 : i64, bytes = 256 : i64, sites = ["norm"]}
  // CHECK: plan.buffer @b0 {per_token = 256 : i64}
  plan.buffer @b0 {per_token = 256 : i64}
  // CHECK: plan.buffer @b1 {fixed = 128 : i64, offset_fixed = 64 : i64, offset_per_token = 0 : i64}
  plan.buffer @b1 {fixed = 128 : i64, offset_fixed = 64 : i64, offset_per_token = 0 : i64}
  // CHECK: plan.launch "rms_norm" (@b0, @b0) weights (@w0) params {K = 64 : i64,
  // CHECK-SAME: eps = 1.000000e-05 : f64
  // CHECK-SAME: reads [0] writes [1] {sites = ["layers.0.attn.q"]}
  plan.launch "rms_norm" (@b0, @b0) weights(@w0) params {K = 64 : i64, groups = 1 : i64,
    ld = 64 : i64, column = 0 : i64, eps = 1.0e-5 : f64, weightOffset = 0.0 : f64,
    perGroup = 0 : i64, rows = 0 : i64} reads [0] writes [1] {sites = ["layers.0.attn.q"]}
  // Operands that a flag switches off may be left out.
  // CHECK: plan.launch "moe_combine" (@b0, @b0, @b0) weights () params
  plan.launch "moe_combine" (@b0, @b0, @b0) weights() params {K = 64 : i64, topk = 1 : i64,
    hasResidual = 0 : i64} reads [0, 1] writes [2]
}
