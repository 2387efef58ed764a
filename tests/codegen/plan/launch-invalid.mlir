// RUN: qplan-opt %s -split-input-file -verify-diagnostics

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[launch-c1] unknown kernel 'glue', known: embed, }}
  plan.launch "glue" () weights() params {} reads [] writes []
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c2] has 1 buffers, expected 2 for select_rows(2 buffers, 0 weights; K)}}
  plan.launch "select_rows" (@b) weights() params {K = 16 : i64} reads [0] writes []
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c2] has 3 buffers, expected 4 for moe_combine}}
  plan.launch "moe_combine" (@b, @b, @b) weights() params {K = 16 : i64, topk = 1 : i64,
    hasResidual = 1 : i64} reads [0, 1] writes [2]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c3] lacks parameter 'scale' of binary(3 buffers, 0 weights; K, kind, scale (f64), rows)}}
  plan.launch "binary" (@b, @b, @b) weights() params {K = 16 : i64, kind = 0 : i64}
    reads [0, 1] writes [2]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c3] parameter 'scale' is 1 : i64, expected f64}}
  plan.launch "binary" (@b, @b, @b) weights() params {K = 16 : i64, kind = 0 : i64,
    scale = 1 : i64, rows = 0 : i64} reads [0, 1] writes [2]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c3] parameter 'N' is not one of select_rows}}
  plan.launch "select_rows" (@b, @b) weights() params {K = 16 : i64, N = 1 : i64}
    reads [0] writes [1]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c4] index 2 in reads or writes, but has 2 buffers}}
  plan.launch "select_rows" (@b, @b) weights() params {K = 16 : i64} reads [0] writes [2]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c4] buffer 1 is neither in reads nor in writes}}
  plan.launch "select_rows" (@b, @b) weights() params {K = 16 : i64} reads [0] writes []
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c5] @c is not a plan.buffer of the program}}
  plan.launch "select_rows" (@b, @c) weights() params {K = 16 : i64} reads [0] writes [1]
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.buffer @b {per_token = 64 : i64}
  // expected-error @+1 {{[launch-c5] @b is not a plan.weight of the program}}
  plan.launch "rope_table" (@b) weights(@b) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
}
