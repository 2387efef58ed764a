// RUN: qplan-opt %s -plan-assign-memory -verify-diagnostics

plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @a {per_token = 64 : i64}
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{reads buffer @a before any launch wrote it}}
  plan.launch "select_rows" (@a, @b) weights() params {K = 16 : i64} reads [0] writes [1]
}
