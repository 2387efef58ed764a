// RUN: rm -rf %t && split-file %s %t
// RUN: qplan-opt %t/fixed.mlir -qp-insert-qdq="statistics=%t/statistics.json" | FileCheck %t/fixed.mlir
// RUN: qplan-opt %t/fixed.mlir -qp-insert-qdq 2>&1 | FileCheck %t/fixed.mlir --check-prefix=NONE
// RUN: not qplan-opt %t/head.mlir -qp-insert-qdq 2>&1 | FileCheck %t/head.mlir --check-prefix=NONE
// RUN: qplan-opt %t/head.mlir -qp-insert-qdq="statistics=%t/statistics.json" | FileCheck %t/head.mlir
// RUN: not qplan-opt %t/other.mlir -qp-insert-qdq="statistics=%t/statistics.json" 2>&1 | FileCheck %t/other.mlir

// Ranges of two heads of two columns: keys 1, 2 | 448, 4 and values 0, 0 | 0.5, 224.

//--- statistics.json
{"qplan_statistics": 3, "model": "m", "calibration": "c", "samples": 1, "length": 1, "rotate": "", "scores": {}, "traces": {},
 "sites": {"layers.0.attn.k_cache": {"rows": 1, "columns": 4, "abs_max": "AACAPwAAAEAAAOBDAACAQA==",
   "mean_square": "AAAAAAAAAAAAAAAAAAAAAA==", "mean_abs": "AAAAAAAAAAAAAAAAAAAAAA=="},
  "layers.0.attn.v_cache": {"rows": 1, "columns": 4, "abs_max": "AAAAAAAAAAAAAAA/AABgQw==",
   "mean_square": "AAAAAAAAAAAAAAAAAAAAAA==", "mean_abs": "AAAAAAAAAAAAAAAAAAAAAA=="}}}

//--- fixed.mlir
// One scale for all heads; without statistics none is written, which means 1.
// CHECK: qp.attention
// CHECK-SAME: key_scales = array<f64: 1.000000e+00>
// CHECK-SAME: value_scales = array<f64: 5.000000e-01>
// NONE: remark: --kv-cache fp8_e4m3_tensor is not calibrated: keys and values are stored at scale 1
// NONE: qp.attention
// NONE-NOT: key_scales
func.func @forward(%q: tensor<?x4xf32>, %k: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 2 : i64, kv_heads = 2 : i64, head_dim = 2 : i64, scale = 1.0 : f64, kv_format = "fp8_e4m3_tensor"} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

//--- head.mlir
// A head that was always 0 has the scale 1.
// CHECK: qp.attention
// CHECK-SAME: key_scales = array<f64: 0.00446428{{[0-9]+}}, 1.000000e+00>
// CHECK-SAME: value_scales = array<f64: 1.000000e+00, 5.000000e-01>
// NONE: error: --kv-cache fp8_e4m3_head: scales of heads come from calibration; give --calib TEXT
func.func @forward(%q: tensor<?x4xf32>, %k: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = qp.attention %q, %k, %k {layer = 0 : i64, heads = 2 : i64, kv_heads = 2 : i64, head_dim = 2 : i64, scale = 1.0 : f64, kv_format = "fp8_e4m3_head"} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

//--- other.mlir
// CHECK: error: layers.1.attn.k_cache: the statistics do not hold it; make them again
func.func @forward(%q: tensor<?x4xf32>, %k: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = qp.attention %q, %k, %k {layer = 1 : i64, heads = 2 : i64, kv_heads = 2 : i64, head_dim = 2 : i64, scale = 1.0 : f64, kv_format = "fp8_e4m3_tensor"} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
