// RUN: qplan-opt %s -plan-assign-weights | FileCheck %s

// Weights lie in the order of first use from byte 64 on; equal ones share a place.
// CHECK-LABEL: plan.program @p
// CHECK-SAME: weight_bytes = 256 : i64
plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  // CHECK: plan.weight @second {{.*}}offset = 192 : i64
  // CHECK: plan.weight @first {{.*}}offset = 64 : i64
  // CHECK: plan.weight @again {{.*}}offset = 64 : i64
  // CHECK-NOT: @unused
  plan.weight @second {source = "b", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.weight @first {source = "a", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 17 : i64, bytes = 68 : i64}
  plan.weight @again {source = "a", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 17 : i64, bytes = 68 : i64}
  plan.weight @unused {source = "c", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.buffer @t {per_token = 64 : i64}
  plan.launch "rope_table" (@t) weights(@first) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "rope_table" (@t) weights(@second) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
  plan.launch "rope_table" (@t) weights(@again) params {half = 8 : i64, scale = 1.0 : f64}
    reads [] writes [0]
}
