// RUN: qplan-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{[program-c1] name 'a-b' is not a C identifier}}
plan.program @"a-b" attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
}

// -----

// expected-error @+1 {{[program-c2] max_tokens is -1, must be positive}}
plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = -1 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
}

// -----

plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[program-c3] does not belong in a plan.program}}
  llvm.func @f()
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[weight-c1] rows 1, cols 64, bytes -4: must be positive}}
  plan.weight @w {source = "w", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 64 : i64, bytes = -4 : i64}
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[weight-c2] offset 0 must be a multiple of 64 and at least 64}}
  plan.weight @w {source = "w", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 64 : i64, bytes = 256 : i64, offset = 0 : i64}
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[buffer-c1] per_token 100, fixed 0: must be multiples of 64}}
  plan.buffer @b {per_token = 100 : i64}
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[buffer-c1] per_token 0, fixed 0}}
  plan.buffer @b
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[buffer-c1] per_token 4611686018427387904, fixed 0: must be multiples of 64 from 0 to 2^40}}
  plan.buffer @b {per_token = 4611686018427387904 : i64}
}

// -----

plan.program @tiny attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // expected-error @+1 {{[buffer-c2] offset_per_token and offset_fixed come together}}
  plan.buffer @b {per_token = 64 : i64, offset_fixed = 0 : i64}
}
