// RUN: qplan-opt %s -split-input-file -qp-to-plan -verify-diagnostics

// expected-error @+1 {{qp-to-plan needs the module attribute `qp.model` that import writes}}
module {
  func.func @forward(%ids: tensor<?xi32>) {
    return
  }
}

// -----

module attributes {qp.model = {name = "m", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    // expected-error @+1 {{works in place, but its input is read again later}}
    %r = qp.rope %x {heads = 1 : i64, head_dim = 64 : i64, style = #qp<rope_style half>, inverse_frequency = array<f64: 1.0>} : tensor<?x64xf32>
    %y = qp.add %x, %r : tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

module attributes {qp.model = {name = "m", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) {
    // expected-error @+1 {{has no lowering to a plan}}
    %0 = llvm.mlir.constant(0 : i32) : i32
    return
  }
}

// -----

module attributes {qp.model = {name = "m", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  // expected-error @+1 {{qp-to-plan needs a function of one block}}
  func.func private @forward(%ids: tensor<?xi32>)
}

// -----

// expected-error @+1 {{the module attribute `qp.model` lacks the number `context`}}
module attributes {qp.model = {name = "m", vocabulary = 96 : i64, hidden = 64 : i64, layers = 0 : i64, kv_format = "f32"}} {
  func.func @forward(%ids: tensor<?xi32>) {
    return
  }
}

// -----

// expected-error @+1 {{the module attribute `qp.model` lacks the text `kv_format`}}
module attributes {qp.model = {name = "m", vocabulary = 96 : i64, hidden = 64 : i64, context = 64 : i64, layers = 0 : i64}} {
  func.func @forward(%ids: tensor<?xi32>) {
    return
  }
}
