// RUN: qplan-opt %s -plan-assign-memory -plan-assign-weights \
// RUN:   -plan-to-llvm="target=x86_64-linux:znver5 features=avx2,fma" | FileCheck %s

// RUN: qplan-opt %s -plan-assign-memory -plan-assign-weights -plan-to-llvm="launches=true" \
// RUN:   | FileCheck %s --check-prefix=RANGE

// The two ropes share one function and differ in places; the layers of kv_store are
// passed at run time, so they share one as well.
plan.program @p attributes {vocabulary = 96 : i64, hidden = 64 : i64, max_context = 128 : i64,
    max_tokens = 16 : i64, kv_page_tokens = 16 : i64, kv_page_bytes = 8192 : i64, kv_format = "f32"} {
  plan.weight @f {source = "f", format = "f32", packing = "vector_f32", rows = 1 : i64,
    cols = 8 : i64, bytes = 32 : i64}
  plan.buffer @t {per_token = 64 : i64}
  plan.buffer @x {per_token = 256 : i64}
  plan.launch "rope_table" (@t) weights(@f) params {half = 8 : i64, scale = 1.5 : f64}
    reads [] writes [0]
  plan.launch "select_rows" (@t, @x) weights() params {K = 16 : i64} reads [0] writes [1]
  plan.launch "rope" (@x, @t) weights() params {heads = 1 : i64, headDim = 16 : i64,
    rotary = 16 : i64, column = 0 : i64, ld = 64 : i64, style = 0 : i64} reads [0, 1] writes [0]
  plan.launch "rope" (@x, @t) weights() params {heads = 1 : i64, headDim = 16 : i64,
    rotary = 16 : i64, column = 0 : i64, ld = 64 : i64, style = 0 : i64} reads [0, 1] writes [0]
  plan.launch "kv_store" (@x) weights() params {column = 16 : i64, vColumn = 32 : i64,
    ld = 64 : i64, kvHeads = 1 : i64, headDim = 16 : i64, layer = 0 : i64, layers = 2 : i64,
    kvElement = 0 : i64, kvGroup = 16 : i64, kvScale = 0 : i64,
        kvZero = 0 : i64, kvFixed = 0 : i64, pageTokens = 16 : i64} reads [0] writes []
  plan.launch "kv_store" (@x) weights() params {column = 16 : i64, vColumn = 32 : i64,
    ld = 64 : i64, kvHeads = 1 : i64, headDim = 16 : i64, layer = 1 : i64, layers = 2 : i64,
    kvElement = 0 : i64, kvGroup = 16 : i64, kvScale = 0 : i64,
        kvZero = 0 : i64, kvFixed = 0 : i64, pageTokens = 16 : i64} reads [0] writes []
}

// CHECK-DAG: llvm.func @qk_rope(!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64)
// CHECK-DAG: llvm.func @qk_rope_tasks(!llvm.ptr, !llvm.ptr, i64) -> i64

// 1.5 as the bits of a double.
// CHECK: llvm.mlir.global internal constant @p.k0.rope_table.params(dense<[8, 4609434218613702656]>
// CHECK: llvm.func internal @p.k0.rope_table(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// CHECK: llvm.call @qk_rope_table(
// CHECK: llvm.func internal @p.k0.rope_table.task(
// CHECK: llvm.call @p.k0.rope_table(
// CHECK: llvm.func internal @p.k0.rope_table.run(
// CHECK: llvm.call @qk_rope_table_tasks(

// Places of a launch: weights, (fixed, per token) of buffers, parameters passed at run time.
// CHECK: llvm.mlir.global internal constant @p.places.0(dense<[64, 0, 256]>
// CHECK: llvm.func internal @p.k2.rope(
// CHECK: llvm.func internal @p.k3.kv_store(
// CHECK: llvm.mlir.global internal constant @p.places.4(dense<0>
// CHECK-NOT: @p.k4
// CHECK: llvm.mlir.global internal constant @p.places.5(dense<[0, 0, 1]>

// CHECK-LABEL: llvm.func internal @p_forward(
// CHECK-COUNT-4: llvm.icmp "sgt"
// CHECK: llvm.call @p.k0.rope_table.run(
// CHECK: llvm.call @p.k1.select_rows.run(
// CHECK: llvm.call @p.k2.rope.run(
// CHECK: llvm.call @p.k2.rope.run(
// CHECK: llvm.call @p.k3.kv_store.run(
// CHECK: llvm.call @p.k3.kv_store.run(

// CHECK: @p.target("x86_64-linux:znver5\00")
// CHECK: @p.features("avx2,fma\00")
// CHECK: llvm.mlir.global internal constant @p.model()
// CHECK: llvm.func @p_query(%{{.*}}: i32) -> !llvm.ptr

// A chain of launches that is entered at one and left after another.
// RANGE: llvm.func @p_launches(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[FIRST:.*]]: i64, %[[END:.*]]: i64)
// RANGE: llvm.switch %[[FIRST]] : i64
// RANGE-NEXT: 0: ^[[RUN0:bb[0-9]+]]
// RANGE-NEXT: 1: ^[[RUN1:bb[0-9]+]]
// RANGE: ^[[RUN0]]:
// RANGE: llvm.call @p.k0.rope_table.run(
// RANGE: llvm.icmp "sgt" %[[END]], %{{.*}} : i64
// RANGE-NEXT: llvm.cond_br %{{.*}}, ^[[RUN1]], ^{{bb[0-9]+}}
// RANGE: ^[[RUN1]]:
// RANGE: llvm.call @p.k1.select_rows.run(
