// RUN: qplan-opt %s -split-input-file -qp-rotate="what=all" -verify-diagnostics

// expected-error @+1 {{--rotate residual: the model has no embedding to begin the stream with}}
module {
  func.func @no_stream(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    return %x : tensor<?x64xf32>
  }
}

// -----

// expected-error @+1 {{--rotate: site layers.0.mlp.up is stored in q8_0, which would be rounded again once it is rotated; rotate a checkpoint in f32, f16 or bf16}}
module {
  func.func @stored(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
    %w = qp.weight "w" : !qp.packed<8x64, q8_0>
    %d = qp.dequantize %w : !qp.packed<8x64, q8_0> -> tensor<8x64xf32>
    %y = qp.linear %x, %d {site = "layers.0.mlp.up"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}

// -----

// expected-error @+1 {{--rotate residual: 72 columns have no power of two from 16 on that divides them; leave `residual` out}}
module {
  func.func @narrow(%ids: tensor<?xi32>) -> tensor<?x72xf32> {
    %t = qp.weight "t" : tensor<96x72xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x72xf32> -> tensor<?x72xf32>
    return %x : tensor<?x72xf32>
  }
}

// -----

// expected-error @+1 {{--rotate residual: no layer reads the residual stream through an RMS norm}}
module {
  func.func @unread(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    return %x : tensor<?x64xf32>
  }
}

// -----

// expected-error @+1 {{--rotate residual needs the checkpoint, to read the gamma of norms from}}
module {
  func.func @no_checkpoint(%ids: tensor<?xi32>) -> tensor<?x8xf32> {
    %t = qp.weight "t" : tensor<96x64xf32>
    %x = qp.embedding %ids, %t : tensor<?xi32>, tensor<96x64xf32> -> tensor<?x64xf32>
    %g = qp.weight "g" : tensor<64xf32>
    %n = qp.rms_norm %x, %g {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
    %w = qp.weight "w" : tensor<8x64xf32>
    %y = qp.linear %n, %w {site = "layers.0.attn.q"} : tensor<?x64xf32>, tensor<8x64xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}
