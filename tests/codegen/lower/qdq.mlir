// RUN: qplan-opt %s -qp-to-plan | FileCheck %s

// The QDQ form is lowered as it stands: rows are rounded in f32, weights are rounded to
// their format and kept in f32; observers have places in the statistics.
// CHECK-LABEL: plan.program @qdq attributes
// CHECK-SAME: observers = [{columns = 64 : i64, offset = 0 : i64, site = "s"}, {columns = 64 : i64, gram, offset = 1344 : i64, site = "g"}]
// CHECK-SAME: statistics_bytes = 18048 : i64
module attributes {qp.model = {name = "qdq", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    // CHECK: plan.launch "embed" (@[[X:[a-z0-9]+]])
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    // CHECK: plan.launch "observe" (@[[X]])
    // CHECK-SAME: kind = 0 : i64
    qp.observe %x, "s" : tensor<?x64xf32>
    // CHECK: plan.launch "observe" (@[[X]])
    // CHECK-SAME: kind = 1 : i64
    qp.observe %x, "g" {gram} : tensor<?x64xf32>
    // CHECK: plan.launch "fake_quant" (@[[X]], @[[R:[a-z0-9]+]])
    // CHECK-SAME: actGroup = 64 : i64, element = 4 : i64
    %q = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
    %d = qp.dequantize %q : !qp.packed<?x64, int8_token> -> tensor<?x64xf32>
    %w = qp.weight "w" : tensor<64x64xf32>
    %wq = qp.quantize %w : tensor<64x64xf32> -> !qp.packed<64x64, int4_g32>
    %wd = qp.dequantize %wq : !qp.packed<64x64, int4_g32> -> tensor<64x64xf32>
    // CHECK: plan.weight @[[W:[a-z0-9]+]] {{.*}}details = {emulate = "int4_g32"}, format = "f32"
    // CHECK: plan.launch "linear_f32" (@[[R]], @[[Y:[a-z0-9]+]], @[[Y]]) weights (@[[W]], @[[W]])
    %y = qp.linear %d, %wd {site = "s"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    // CHECK: plan.weight @[[F:[a-z0-9]+]] {{.*}}source = "f"
    // CHECK: plan.launch "scale_columns" (@[[Y]], @[[Y]]) weights (@[[F]])
    %f = qp.weight "f" : tensor<64xf32>
    %s = qp.scale_columns %y, %f : tensor<?x64xf32>, tensor<64xf32>
    // CHECK: plan.launch "rotate" (@[[Y]], @[[Y]]){{.*}}K = 64 : i64, block = 32 : i64, rows = 0 : i64
    %h = qp.rotate %s {block = 32 : i64} : tensor<?x64xf32>
    // CHECK: plan.launch "unary" (@[[Y]], @[[Y]]){{.*}}kind = 0 : i64
    %p = qp.pointwise silu %h : tensor<?x64xf32>
    // CHECK: plan.launch "fake_quant" (@[[Y]], @{{.+}}){{.*}}element = 5 : i64{{.*}}staticScale = 2.500000e-01
    %e = qp.quantize %p {scale = 0.25 : f64} : tensor<?x64xf32> -> !qp.packed<?x64, fp8_e4m3_tensor>
    %z = qp.dequantize %e : !qp.packed<?x64, fp8_e4m3_tensor> -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}
