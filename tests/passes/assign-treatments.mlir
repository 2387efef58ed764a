// RUN: rm -rf %t && split-file %s %t
// RUN: qplan-opt %t/model.mlir -qp-assign-treatments="quant=int4_g32a8@mse" \
// RUN:   | FileCheck %s --check-prefix=LAYERS
// RUN: qplan-opt %t/model.mlir -qp-assign-treatments="quant=int8 sites=layers+lm_head+embedding" \
// RUN:   | FileCheck %s --check-prefix=ALL
// RUN: qplan-opt %t/model.mlir -qp-assign-treatments="quant=bf16" | FileCheck %s --check-prefix=PLAIN
// RUN: qplan-opt %t/model.mlir -qp-assign-treatments="recipe=%t/recipe" \
// RUN:   | FileCheck %s --check-prefix=RECIPE
// RUN: qplan-opt %t/model.mlir -qp-assign-treatments="quant=int8 sites=lm_head untie=true" \
// RUN:   | FileCheck %s --check-prefix=UNTIED
// RUN: qplan-opt %t/wide.mlir -qp-assign-treatments="quant=q4_0 fallback=int8" -verify-diagnostics \
// RUN:   | FileCheck %s --check-prefix=FALLBACK

// The scope is the layers' linears: not the router, not the head, not the embedding.
// LAYERS: module attributes {
// LAYERS-SAME: qp.sites = ["embedding", "layers.0.mlp.up", "layers.0.mlp.router", "lm_head"]
// LAYERS-SAME: qp.treatments = {embedding = "f32", layers.0.mlp.router = "f32",
// LAYERS-SAME: layers.0.mlp.up = "int4_g32a8@mse", lm_head = "f32"}
// LAYERS: qp.embedding {{.*}} {qp.treatment = "f32"}
// LAYERS: qp.linear {{.*}} {qp.treatment = "int4_g32a8@mse", site = "layers.0.mlp.up"}

// ALL: qp.embedding {{.*}} {qp.treatment = "int8"}
// ALL: qp.linear {{.*}} {qp.treatment = "int8", site = "layers.0.mlp.up"}
// ALL: qp.linear {{.*}} {qp.treatment = "f32", site = "layers.0.mlp.router"}
// ALL: qp.linear {{.*}} {qp.treatment = "int8", site = "lm_head"}

// A plain float is a precision of the whole model.
// PLAIN-COUNT-4: qp.treatment = "bf16"

// RECIPE: qp.embedding {{.*}} {qp.treatment = "f32"}
// RECIPE: qp.linear {{.*}} {qp.treatment = "int8a8", site = "layers.0.mlp.up"}
// RECIPE: qp.linear {{.*}} {qp.treatment = "f32", site = "lm_head"}

// UNTIED: qp.embedding {{.*}} {qp.treatment = "f32"}
// UNTIED: qp.linear {{.*}} {qp.treatment = "int8", site = "lm_head"}

// FALLBACK: qp.linear {{.*}} {qp.treatment = "int8", site = "layers.0.mlp.up"}

//--- model.mlir
func.func @forward(%ids: tensor<?xi32>) -> tensor<?x96xf32> {
  %t = qp.weight "t" : tensor<96x64xf32>
  %w = qp.weight "w" : tensor<64x64xf32>
  %r = qp.weight "r" : tensor<64x64xf32>
  %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
  %u = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %e = qp.linear %u, %r {site = "layers.0.mlp.router"} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %y = qp.linear %e, %t {site = "lm_head"} : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

//--- wide.mlir
func.func @forward(%x: tensor<?x40xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x40xf32>
  // expected-remark @+1 {{--fallback int8 is used}}
  %y = qp.linear %x, %w {site = "layers.0.mlp.up"} : tensor<?x40xf32>, tensor<8x40xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

//--- recipe
qplan-recipe 1
layers.*.mlp.up = int8a8
