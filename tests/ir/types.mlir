// RUN: qplan-opt %s | qplan-opt | FileCheck %s

// CHECK-LABEL: func.func private @shapes(
// CHECK-SAME: !qp.packed<64, f32>
// CHECK-SAME: !qp.packed<576x1536, int4_g64>
// CHECK-SAME: !qp.packed<?x64, int8_token>
// CHECK-SAME: !qp.packed<4x64x64, q4_0>
func.func private @shapes(!qp.packed<64, f32>, !qp.packed<576x1536, int4_g64>,
                          !qp.packed<?x64, int8_token>, !qp.packed<4x64x64, q4_0>)

// Names of formats may be quoted.
// CHECK-LABEL: func.func private @quoted(
// CHECK-SAME: !qp.packed<4x256, q4_K>
func.func private @quoted(!qp.packed<4x256, "q4_K">)

// CHECK-LABEL: func.func private @styles() attributes
// CHECK-SAME: a = #qp<activation gelu_erf>
// CHECK-SAME: r = #qp<router_mode softmax_of_all>
// CHECK-SAME: s = #qp<rope_style adjacent>
func.func private @styles() attributes {a = #qp<activation gelu_erf>,
    r = #qp<router_mode softmax_of_all>, s = #qp<rope_style adjacent>}
