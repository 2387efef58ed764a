// RUN: qplan-opt %s -plan-assign-memory | FileCheck %s

// @a is dead when @c is first written, so @c lies where @a was.
// CHECK-LABEL: plan.program @chain
// CHECK-SAME: arena_fixed = 0 : i64, arena_per_token = 128 : i64
plan.program @chain attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // CHECK: plan.buffer @a {offset_fixed = 0 : i64, offset_per_token = 0 : i64, per_token = 64 : i64}
  // CHECK: plan.buffer @b {offset_fixed = 0 : i64, offset_per_token = 64 : i64, per_token = 64 : i64}
  // CHECK: plan.buffer @c {offset_fixed = 0 : i64, offset_per_token = 0 : i64, per_token = 64 : i64}
  // CHECK-NOT: @unused
  plan.buffer @a {per_token = 64 : i64}
  plan.buffer @b {per_token = 64 : i64}
  plan.buffer @c {per_token = 64 : i64}
  plan.buffer @unused {per_token = 64 : i64}
  plan.weight @f {source = "f", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.launch "rope_table" (@a) weights(@f) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "select_rows" (@a, @b) weights() params {K = 16 : i64} reads [0] writes [1]
  plan.launch "select_rows" (@b, @c) weights() params {K = 16 : i64} reads [0] writes [1]
}

// Fixed bytes lie first, per-token bytes behind, buffers with both at the end. The
// large buffer is placed first, the small ones fill the hole it leaves.
// CHECK-LABEL: plan.program @parts
// CHECK-SAME: arena_fixed = 256 : i64, arena_per_token = 384 : i64
plan.program @parts attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // CHECK: plan.buffer @fixed {fixed = 192 : i64, offset_fixed = 0 : i64, offset_per_token = 0 : i64}
  // CHECK: plan.buffer @both {fixed = 64 : i64, offset_fixed = 192 : i64, offset_per_token = 320 : i64, per_token = 64 : i64}
  // CHECK: plan.buffer @small {offset_fixed = 192 : i64, offset_per_token = 256 : i64, per_token = 64 : i64}
  // CHECK: plan.buffer @large {offset_fixed = 192 : i64, offset_per_token = 0 : i64, per_token = 256 : i64}
  plan.buffer @fixed {fixed = 192 : i64}
  plan.buffer @both {fixed = 64 : i64, per_token = 64 : i64}
  plan.buffer @small {per_token = 64 : i64}
  plan.buffer @large {per_token = 256 : i64}
  plan.weight @f {source = "f", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.launch "rope_table" (@fixed) weights(@f) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "select_rows" (@fixed, @both) weights() params {K = 16 : i64} reads [0] writes [1]
  plan.launch "select_rows" (@both, @small) weights() params {K = 16 : i64} reads [0] writes [1]
  plan.launch "select_rows" (@small, @large) weights() params {K = 16 : i64} reads [0] writes [1]
}

// In place: read and written at once.
// CHECK-LABEL: plan.program @inplace
// CHECK-SAME: arena_per_token = 64 : i64
plan.program @inplace attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @a {per_token = 64 : i64}
  plan.weight @f {source = "f", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.launch "rope_table" (@a) weights(@f) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "unary" (@a, @a) weights() params {K = 16 : i64, kind = 3 : i64, value = 0.0 : f64,
    rows = 0 : i64, toLogits = 0 : i64} reads [0] writes [1]
}
