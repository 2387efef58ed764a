// RUN: qplan-opt %s -qp-to-plan -verify-diagnostics

// A chain fills one buffer: what it holds half way is nobody else's.
module attributes {qp.model = {name = "read", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x32xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %r = qp.weight "r" : tensor<2x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %l = qp.linear %x, %r {site = "router"} : tensor<?x64xf32>, tensor<2x64xf32> -> tensor<?x2xf32>
    %shares, %routes = qp.route softmax_of_all %l {top_k = 2 : i64} : tensor<?x2xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
    %a = qp.weight "a" : tensor<32x64xf32>
    %0 = qp.expert_linear %x, %routes, [%a] ["e.0"] {numbers = array<i64: 0>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>] -> tensor<?x32xf32>
    // expected-error @+1 {{works in place, but its input is read again later}}
    %1 = qp.expert_linear %x, %routes, [%a] onto %0 ["e.1"] {numbers = array<i64: 1>} : tensor<?x64xf32>, tensor<?x2xi32>, [tensor<32x64xf32>] onto tensor<?x32xf32> -> tensor<?x32xf32>
    %m = qp.gated silu %0, %1 : tensor<?x32xf32> -> tensor<?x32xf32>
    %z = qp.combine %m, %shares : tensor<?x32xf32>, tensor<?x2xf32> -> tensor<?x32xf32>
    return %z : tensor<?x32xf32>
  }
}
