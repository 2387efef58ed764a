// RUN: qplan-opt %s -split-input-file -verify-diagnostics

// [quantize-c1]
func.func @quantize_shape(%w: tensor<8x64xf32>) {
  // expected-error @+1 {{operand and result must have the same shape, found 'tensor<8x64xf32>' and '!qp.packed<8x32, int8>'}}
  %q = qp.quantize %w : tensor<8x64xf32> -> !qp.packed<8x32, int8>
  return
}

// -----

// [quantize-c2]
func.func @quantize_blocks(%w: tensor<8x40xf32>) {
  // expected-error @+1 {{q4_0}}
  %q = qp.quantize %w : tensor<8x40xf32> -> !qp.packed<8x40, q4_0>
  return
}

// -----

// [quantize-c3]
func.func @quantize_threshold(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{a threshold must be above 0 and needs rows in int8_token, found 6.000000e+00 and int8_b32}}
  %q = qp.quantize %x {threshold = 6.0 : f64} : tensor<?x64xf32> -> !qp.packed<?x64, int8_b32>
  return
}

// -----

// [fused_linear-c3]
func.func @fused_outliers(%x: tensor<?x64xf32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{outliers come with a packed input of the same width}}
  %y = qp.fused_linear %x, [%w] outliers %x ["s"] : tensor<?x64xf32>, [tensor<8x64xf32>] outliers tensor<?x64xf32> -> tensor<?x8xf32>
  return
}

// -----

// [dequantize-c1]
func.func @dequantize_shape(%w: !qp.packed<8x64, int8>) {
  // expected-error @+1 {{operand and result must have the same shape, found '!qp.packed<8x64, int8>' and 'tensor<8x32xf32>'}}
  %d = qp.dequantize %w : !qp.packed<8x64, int8> -> tensor<8x32xf32>
  return
}

// -----

// [rotate-c1]
func.func @rotate_odd(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{[rotate-c1] block of 48 is no power of two that divides 64 columns}}
  %r = qp.rotate %x {block = 48 : i64} : tensor<?x64xf32>
  return
}

// -----

// [rotate-c1]
func.func @rotate_wide(%x: tensor<?x96xf32>) {
  // expected-error @+1 {{[rotate-c1] block of 64 is no power of two that divides 96 columns}}
  %r = qp.rotate %x {block = 64 : i64} : tensor<?x96xf32>
  return
}

// -----

// [rms_norm-c1]
func.func @norm_gamma(%x: tensor<?x64xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{gamma must have one entry for each column of a segment: expected 16, found 8}}
  %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64, groups = 4 : i64} : tensor<?x64xf32>, tensor<8xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_groups(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{groups must divide the width of the input, found 3 and 64}}
  %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64, groups = 3 : i64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  return
}

// -----

// [linear-c1]
func.func @linear_inputs(%x: tensor<?x64xf32>, %w: tensor<8x32xf32>) {
  // expected-error @+1 {{columns of the weight must be the width of the input: expected 64, found 32}}
  %y = qp.linear %x, %w {site = "s"} : tensor<?x64xf32>, tensor<8x32xf32> -> tensor<?x8xf32>
  return
}

// -----

func.func @linear_outputs(%x: tensor<?x64xf32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{rows of the weight must be the width of the result: expected 9, found 8}}
  %y = qp.linear %x, %w {site = "s"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x9xf32>
  return
}

// -----

func.func @linear_vector(%x: tensor<?x64xf32>, %w: tensor<64xf32>) {
  // expected-error @+1 {{weight must be a matrix [outputs, inputs], found 'tensor<64xf32>'}}
  %y = qp.linear %x, %w {site = "s"} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x1xf32>
  return
}

// -----

// [linear-c2]
func.func @linear_bias(%x: tensor<?x64xf32>, %w: tensor<8x64xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{bias must have one entry for each output: expected 8, found 7}}
  %y = qp.linear %x, %w, %b {site = "s"} : tensor<?x64xf32>, tensor<8x64xf32>, tensor<7xf32> -> tensor<?x8xf32>
  return
}

// -----

// [fused_linear-c1]
func.func @fused_sites(%x: tensor<?x64xf32>, %w: tensor<8x64xf32>) {
  // expected-error @+1 {{needs as many results, sites and biases (or none) as weights (2), found 2, 1 and 0}}
  %y:2 = qp.fused_linear %x, [%w, %w] ["s"] : tensor<?x64xf32>, [tensor<8x64xf32>, tensor<8x64xf32>] -> tensor<?x8xf32>, tensor<?x8xf32>
  return
}

// -----

// [fused_linear-c2]
func.func @fused_residual(%x: tensor<?x64xf32>, %w: tensor<8x64xf32>, %r: tensor<?x8xf32>) {
  // expected-error @+1 {{a residual needs exactly one weight, found 2}}
  %y:2 = qp.fused_linear %x, [%w, %w] residual %r ["s", "t"] : tensor<?x64xf32>, [tensor<8x64xf32>, tensor<8x64xf32>] residual tensor<?x8xf32> -> tensor<?x8xf32>, tensor<?x8xf32>
  return
}
