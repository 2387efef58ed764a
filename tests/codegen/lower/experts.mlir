// RUN: qplan-opt %s -split-input-file -qp-to-plan | FileCheck %s

// A routed block: lists of slots by expert, banks as one stored matrix, a buffer row a slot.
// CHECK-LABEL: plan.program @experts
module attributes {qp.model = {name = "experts", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %r = qp.weight "r" : tensor<3x64xf32>
    // CHECK: plan.launch "embed" (@[[X:[a-z0-9]+]])
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    // CHECK: plan.launch "linear_f32" (@[[X]], @[[L:[a-z0-9]+]], @[[L]])
    %l = qp.linear %x, %r {site = "router"} : tensor<?x64xf32>, tensor<3x64xf32> -> tensor<?x3xf32>
    // CHECK: plan.buffer @[[OFFSETS:[a-z0-9]+]] {fixed = 64 : i64}
    // CHECK: plan.launch "moe_route" (@[[L]], @[[SHARES:[a-z0-9]+]], @[[OFFSETS]], @[[LIST:[a-z0-9]+]]) weights () params {experts = 3 : i64, mode = 1 : i64, topk = 2 : i64}
    %shares, %routes = qp.route softmax_of_all %l {top_k = 2 : i64} : tensor<?x3xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
    %a = qp.weight "a" : tensor<32x64xf32>
    %b = qp.weight "b" : tensor<32x64xf32>
    %c = qp.weight "c" : tensor<32x64xf32>
    // CHECK: plan.weight @[[BANK:[a-z0-9]+]] {{.*}}details = {experts = 3 : i64}{{.*}}rows = 96 : i64{{.*}}source = "concat_rows(a;b;c)"
    // CHECK: plan.buffer @[[H:[a-z0-9]+]] {per_token = 512 : i64}
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]]) weights (@[[BANK]], @[[BANK]], @[[BANK]])
    // CHECK-SAME: hasNumbers = 0 : i64{{.*}}slotInput = 0 : i64
    %g = qp.expert_linear %x, %routes, [%a, %b, %c] ["gate"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]])
    // CHECK-SAME: outColumn = 32 : i64
    %u = qp.expert_linear %x, %routes, [%c, %b, %a] ["up"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.launch "glu" (@[[H]], @[[M:[a-z0-9]+]]) weights () params {I = 32 : i64, activation = 0 : i64, rows = 2 : i64}
    %m = qp.gated silu %g, %u : tensor<?x32xf32> -> tensor<?x32xf32>
    %d = qp.weight "d" : tensor<64x32xf32>
    // CHECK: plan.launch "linear_f32_experts" (@[[M]], @[[Y:[a-z0-9]+]], @[[OFFSETS]], @[[LIST]])
    // CHECK-SAME: slotInput = 1 : i64
    %y = qp.expert_linear %m, %routes, [%d, %d, %d] ["down"] {per_slot} : tensor<?x32xf32>, tensor<?x2xi32>, [tensor<64x32xf32>, tensor<64x32xf32>, tensor<64x32xf32>] -> tensor<?x64xf32>
    // CHECK: plan.launch "moe_combine" (@[[Y]], @[[SHARES]], @[[Z:[a-z0-9]+]], @[[Z]])
    %z = qp.combine %y, %shares : tensor<?x64xf32>, tensor<?x2xf32> -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Experts of their own write to the columns that the gated product reads; what others wrote there
// is read as well, so that it is alive.
// CHECK-LABEL: plan.program @single
module attributes {qp.model = {name = "single", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x32xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %r = qp.weight "r" : tensor<3x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %l = qp.linear %x, %r {site = "router"} : tensor<?x64xf32>, tensor<3x64xf32> -> tensor<?x3xf32>
    // CHECK: plan.launch "moe_route" (@{{[a-z0-9]+}}, @{{[a-z0-9]+}}, @[[OFFSETS:[a-z0-9]+]], @[[LIST:[a-z0-9]+]])
    %shares, %routes = qp.route softmax_of_all %l {top_k = 2 : i64} : tensor<?x3xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
    %a = qp.weight "a" : tensor<32x64xf32>
    %b = qp.weight "b" : tensor<32x64xf32>
    %c = qp.weight "c" : tensor<32x64xf32>
    // CHECK: plan.weight @[[AC:[a-z0-9]+]] {{.*}}details = {experts = 2 : i64, site_rows = array<i64: 32, 32>}{{.*}}rows = 64 : i64, sites = ["gate.0", "gate.2"], source = "concat_rows(a;c)"
    // CHECK: plan.weight @[[NUMBERS:[a-z0-9]+]] {{.*}}values = array<f64: 0.000000e+00, 2.000000e+00>
    // CHECK: plan.launch "linear_f32_experts" (@[[X:[a-z0-9]+]], @[[H:[a-z0-9]+]], @[[OFFSETS]], @[[LIST]]) weights (@[[AC]], @[[AC]], @[[NUMBERS]])
    // CHECK-SAME: experts = 2 : i64{{.*}}hasNumbers = 1 : i64{{.*}}outColumn = 0 : i64{{.*}} reads [0, 2, 3] writes [1]
    %g0 = qp.expert_linear %x, %routes, [%a, %c] ["gate.0", "gate.2"] {numbers = array<i64: 0, 2>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.weight @[[B:[a-z0-9]+]] {{.*}}sites = ["gate.1"], source = "b"
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]]) weights (@[[B]], @[[B]], @{{[a-z0-9]+}})
    // CHECK-SAME: experts = 1 : i64{{.*}}hasNumbers = 1 : i64{{.*}}outColumn = 0 : i64{{.*}} reads [0, 2, 3, 1] writes [1]
    %g = qp.expert_linear %x, %routes, [%b] onto %g0 ["gate.1"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>] onto tensor<?x32xf32> -> tensor<?x32xf32>
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]])
    // CHECK-SAME: hasNumbers = 0 : i64{{.*}}outColumn = 32 : i64
    %u = qp.expert_linear %x, %routes, [%c, %b, %a] ["up"] : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.launch "glu" (@[[H]]
    %m = qp.gated silu %g, %u : tensor<?x32xf32> -> tensor<?x32xf32>
    %z = qp.combine %m, %shares : tensor<?x32xf32>, tensor<?x2xf32> -> tensor<?x32xf32>
    return %z : tensor<?x32xf32>
  }
}
