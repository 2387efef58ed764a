// RUN: qplan-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{unknown format}}
func.func private @format(!qp.packed<4x64, int5_g7>)

// -----

// expected-error @+1 {{a packed value has 1 to 3 dimensions, found 4}}
func.func private @rank(!qp.packed<1x1x4x64, q4_0>)

// -----

// expected-error @+1 {{only the first dimension of a packed value may be dynamic, and none may be empty}}
func.func private @dynamic(!qp.packed<4x?, q4_0>)

// -----

// expected-error @+1 {{only the first dimension of a packed value may be dynamic, and none may be empty}}
func.func private @empty(!qp.packed<4x0, q4_0>)
