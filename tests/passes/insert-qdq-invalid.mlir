// RUN: qplan-opt %s -split-input-file -qp-insert-qdq -verify-diagnostics

// Static scales come from statistics, which are not given here.
func.func @static(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x64xf32>
  // expected-error @+1 {{site s: int8_tensor needs the range of its input; give a calibration text (--calib) or statistics (--statistics)}}
  %y = qp.linear %x, %w {site = "s", qp.treatment = "int8a8s"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @unreadable(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x64xf32>
  // expected-error @+1 {{treatment 'int4_g32@best': 'best' is no method of this version}}
  %y = qp.linear %x, %w {site = "s", qp.treatment = "int4_g32@best"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// GPTQ needs the model's inputs, which the driver makes; the weight would be rounded otherwise.
func.func @unsolved(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x64xf32>
  // expected-error @+1 {{site s: its weights are not rounded by gptq yet; start from the stage `round`}}
  %y = qp.linear %x, %w {site = "s", qp.treatment = "int4_g32@gptq"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
