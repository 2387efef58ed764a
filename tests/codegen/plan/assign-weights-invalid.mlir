// RUN: qplan-opt %s -plan-assign-weights -verify-diagnostics

plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.weight @a {source = "a", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  // expected-error @+1 {{has 64 bytes, but @a with the same source, format and packing has 32}}
  plan.weight @b {source = "a", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 16 : i64, bytes = 64 : i64}
  plan.buffer @t {per_token = 64 : i64}
  plan.launch "rope_table" (@t) weights(@a) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "rope_table" (@t) weights(@b) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
}
