// RUN: qplan-opt %s -split-input-file -qp-to-plan | FileCheck %s

// Rows become codes once for each granularity of sums that their readers need: groups of 32
// for int4_g32, whole rows for int8.
// CHECK-LABEL: plan.program @quantize
module attributes {qp.model = {name = "quantize", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %w = qp.weight "w" : tensor<64x64xf32>
    %wq = qp.quantize %w : tensor<64x64xf32> -> !qp.packed<64x64, int4_g32>
    %v = qp.weight "v" : tensor<64x64xf32>
    %vq = qp.quantize %v : tensor<64x64xf32> -> !qp.packed<64x64, int8>
    // CHECK: plan.launch "embed" (@[[X:[a-z0-9]+]])
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %q = qp.quantize %x : tensor<?x64xf32> -> !qp.packed<?x64, int8_token>
    // CHECK: plan.launch "quantize_q8" (@[[X]], @[[C:[a-z0-9]+]], @[[F:[a-z0-9]+]], @[[S:[a-z0-9]+]])
    // CHECK-SAME: actGroup = 64 : i64
    // CHECK-SAME: sumGroup = 32 : i64
    // CHECK: plan.launch "linear_q8" (@[[C]], @[[F]], @[[S]], @{{.+}}, @{{.+}})
    // CHECK-SAME: element = 3 : i64
    // CHECK-SAME: sumGroup = 32 : i64
    %0 = qp.fused_linear %q, [%wq] ["a"] : !qp.packed<?x64, int8_token>, [!qp.packed<64x64, int4_g32>] -> tensor<?x64xf32>
    // CHECK: plan.launch "linear_q8" (@[[C]], @[[F]], @[[S]], @{{.+}}, @{{.+}})
    // CHECK-SAME: sumGroup = 32 : i64
    %1 = qp.fused_linear %q, [%wq] ["b"] : !qp.packed<?x64, int8_token>, [!qp.packed<64x64, int4_g32>] -> tensor<?x64xf32>
    // CHECK: plan.launch "quantize_q8" (@[[X]], @[[C2:[a-z0-9]+]], @[[F2:[a-z0-9]+]], @[[S2:[a-z0-9]+]])
    // CHECK-SAME: sumGroup = 64 : i64
    // CHECK: plan.launch "linear_q8" (@[[C2]], @[[F2]], @[[S2]], @{{.+}}, @{{.+}})
    // CHECK-SAME: element = 4 : i64
    // CHECK-SAME: sumGroup = 64 : i64
    %2 = qp.fused_linear %q, [%vq] ["c"] : !qp.packed<?x64, int8_token>, [!qp.packed<64x64, int8>] -> tensor<?x64xf32>
    %3 = qp.add %0, %1 : tensor<?x64xf32>
    // CHECK: plan.launch "binary"
    %4 = qp.add %2, %3 : tensor<?x64xf32>
    return %4 : tensor<?x64xf32>
  }
}

// -----

// Norms and gated products write codes themselves.
// CHECK-LABEL: plan.program @producers
module attributes {qp.model = {name = "producers", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %g = qp.weight "g" : tensor<64xf32>
    %w = qp.weight "w" : !qp.packed<64x64, q4_0>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    // CHECK: plan.launch "rms_norm_q8" (@[[X:[a-z0-9]+]], @[[C:[a-z0-9]+]], @[[F:[a-z0-9]+]], @[[S:[a-z0-9]+]])
    // CHECK-SAME: actGroup = 32 : i64
    // CHECK-SAME: roundMode = 1 : i64
    // CHECK-SAME: sumGroup = 32 : i64
    %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> !qp.packed<?x64, int8_b32>
    // CHECK: plan.launch "linear_q8" (@[[C]], @[[F]], @[[S]], @[[H:[a-z0-9]+]], @[[H]])
    // CHECK-SAME: {sites = ["gate", "up"]}
    %u:2 = qp.fused_linear %n, [%w, %w] ["gate", "up"] : !qp.packed<?x64, int8_b32>, [!qp.packed<64x64, q4_0>, !qp.packed<64x64, q4_0>] -> tensor<?x64xf32>, tensor<?x64xf32>
    // CHECK: plan.launch "glu_q8" (@[[H]], @[[C2:[a-z0-9]+]], @[[F2:[a-z0-9]+]], @[[S2:[a-z0-9]+]])
    %m = qp.gated gelu_tanh %u#0, %u#1 : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
    // CHECK: plan.launch "linear_q8" (@[[C2]], @[[F2]], @[[S2]], @[[X]], @[[X]])
    %y = qp.fused_linear %m, [%w] residual %x ["down"] : !qp.packed<?x64, int8_b32>, [!qp.packed<64x64, q4_0>] residual tensor<?x64xf32> -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}
