// RUN: qplan-opt %s -plan-to-llvm -split-input-file -verify-diagnostics

// expected-error @+1 {{has no arena sizes: run plan-assign-memory first}}
plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
}

// -----

// expected-error @+1 {{has no weight_bytes: run plan-assign-weights first}}
plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32",
    arena_fixed = 0 : i64, arena_per_token = 0 : i64} {
}

// -----

plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32",
    arena_fixed = 0 : i64, arena_per_token = 64 : i64, weight_bytes = 128 : i64} {
  plan.buffer @b {per_token = 64 : i64, offset_per_token = 0 : i64, offset_fixed = 0 : i64}
  // expected-error @+1 {{has no offset: run plan-assign-weights first}}
  plan.weight @w {source = "a", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.launch "rope_table" (@b) weights(@w) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
}
