// RUN: rm -rf %t && split-file %s %t
// RUN: qplan-opt %t/tied.mlir -qp-assign-treatments="quant=int8 sites=lm_head" -verify-diagnostics
// RUN: qplan-opt %t/blocks.mlir -qp-assign-treatments="quant=q4_0" -verify-diagnostics
// RUN: qplan-opt %t/typo.mlir -qp-assign-treatments="quant=int9" -verify-diagnostics
// RUN: qplan-opt %t/scope.mlir -qp-assign-treatments="quant=int8 sites=head" -verify-diagnostics
// RUN: qplan-opt %t/search.mlir -qp-assign-treatments="quant=q8_0@mse" -verify-diagnostics
// RUN: qplan-opt %t/codes.mlir -qp-assign-treatments="quant=q4_0@gptq" -verify-diagnostics
// RUN: qplan-opt %t/rows.mlir -qp-assign-treatments="quant=int8@gptq sites=embedding" -verify-diagnostics
// RUN: qplan-opt %t/shared.mlir -qp-assign-treatments="quant=int8@gptq" -verify-diagnostics
// RUN: qplan-opt %t/recipe.mlir -qp-assign-treatments="recipe=%t/none" -verify-diagnostics
// RUN: qplan-opt %t/unmatched.mlir -qp-assign-treatments="recipe=%t/recipe" -verify-diagnostics

//--- tied.mlir
// expected-error @+1 {{sites embedding and lm_head share the tensor `t` but have different formats (f32 and int8); put both in scope (--sites) or store it twice with --untie}}
module {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x96xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %y = qp.linear %x, %t {site = "lm_head"} : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
    return %y : tensor<?x96xf32>
  }
}

//--- blocks.mlir
// expected-error @+1 {{site layers.0.mlp.up: }}
module {
  func.func @forward(%x: tensor<?x40xf32>) -> tensor<?x8xf32> {
    %w = qp.weight "w" : tensor<8x40xf32>
    %y = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x40xf32>, tensor<8x40xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}

//--- typo.mlir
// expected-error @+1 {{treatment 'int9': 'int9' is no weight format; did you mean}}
module {}

//--- scope.mlir
// expected-error @+1 {{--sites head: `head` is none of layers, lm_head, embedding (joined with +)}}
module {}

//--- search.mlir
// expected-error @+1 {{site layers.0.mlp.up: q8_0 is written by GGML's own rule, which has no search; leave out @mse}}
module {
  func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
    %w = qp.weight "w" : tensor<8x64xf32>
    %y = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}

//--- codes.mlir
// expected-error @+1 {{site layers.0.mlp.up: gptq chooses codes whose scales are fixed, and those of q4_0 are not; leave out @gptq}}
module {
  func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
    %w = qp.weight "w" : tensor<8x64xf32>
    %y = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}

//--- rows.mlir
// expected-error @+1 {{site embedding: gptq weighs errors by the rows that are multiplied, and here rows are looked up}}
module {
  func.func @forward(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    return %x : tensor<?x64xf32>
  }
}

//--- shared.mlir
// expected-error @+1 {{sites layers.0.mlp.up and layers.1.mlp.up share the tensor `w`, and gptq changes it for one input}}
module {
  func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %w = qp.weight "w" : tensor<64x64xf32>
    %y = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    %z = qp.linear %y, %w {site = "layers.1.mlp.up"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

//--- recipe.mlir
// expected-error @+1 {{/none}}
module {}

//--- unmatched.mlir
// expected-error @+1 {{layers.0.mlp.down}}
module {
  func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
    %w = qp.weight "w" : tensor<8x64xf32>
    %y = qp.linear %x, %w {site = "layers.0.mlp.down"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}

//--- recipe
qplan-recipe 1
layers.*.mlp.up = int8a8
