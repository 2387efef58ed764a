// RUN: qplan-opt %s -split-input-file -qp-fold-smooth-quant -verify-diagnostics

// Factors come from weights and statistics, which qplan-opt does not have.
func.func @smoothed(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x64xf32>
  // expected-error @+1 {{site s: smoothquant needs the ranges of its input; give a calibration text (--calib) or statistics (--statistics)}}
  %y = qp.linear %x, %w {site = "s", qp.treatment = "int8a8@smoothquant"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @unreadable(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %w = qp.weight "w" : tensor<8x64xf32>
  // expected-error @+1 {{treatment 'int8a8@smoothquant{beta=1}': method 'smoothquant' has no parameter 'beta' (it has: alpha, search)}}
  %y = qp.linear %x, %w {site = "s", qp.treatment = "int8a8@smoothquant{beta=1}"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
