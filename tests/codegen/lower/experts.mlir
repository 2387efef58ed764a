// RUN: qplan-opt %s -qp-to-plan | FileCheck %s

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
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]]) weights (@[[BANK]], @[[BANK]])
    // CHECK-SAME: slotInput = 0 : i64
    %g = qp.expert_linear %x, %routes, [%a, %b, %c] {site = "gate"} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.launch "linear_f32_experts" (@[[X]], @[[H]], @[[OFFSETS]], @[[LIST]])
    // CHECK-SAME: outColumn = 32 : i64
    %u = qp.expert_linear %x, %routes, [%c, %b, %a] {site = "up"} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>] -> tensor<?x32xf32>
    // CHECK: plan.launch "glu" (@[[H]], @[[M:[a-z0-9]+]]) weights () params {I = 32 : i64, activation = 0 : i64, rows = 2 : i64}
    %m = qp.gated silu %g, %u : tensor<?x32xf32> -> tensor<?x32xf32>
    %d = qp.weight "d" : tensor<64x32xf32>
    // CHECK: plan.launch "linear_f32_experts" (@[[M]], @[[Y:[a-z0-9]+]], @[[OFFSETS]], @[[LIST]])
    // CHECK-SAME: slotInput = 1 : i64
    %y = qp.expert_linear %m, %routes, [%d, %d, %d] {site = "down", per_slot} : tensor<?x32xf32>, tensor<?x2xi32>, [tensor<64x32xf32>, tensor<64x32xf32>, tensor<64x32xf32>] -> tensor<?x64xf32>
    // CHECK: plan.launch "moe_combine" (@[[Y]], @[[SHARES]], @[[Z:[a-z0-9]+]], @[[Z]])
    %z = qp.combine %y, %shares : tensor<?x64xf32>, tensor<?x2xf32> -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}
