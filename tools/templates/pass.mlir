// RUN: qplan-opt %s --qp-@kebab@ | FileCheck %s

// CHECK-LABEL: func.func @keeps_what_it_does_not_know
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32>)
func.func @keeps_what_it_does_not_know(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: return %[[X]]
  return %x : tensor<?x8xf32>
}
