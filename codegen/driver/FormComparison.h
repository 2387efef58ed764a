//===- FormComparison.h - emitted code against its meaning -------*- C++ -*-===//
//
// The QDQ form is the meaning of a plan; emitted code may only differ from it in the
// order of f32 sums. What that comes to behind each layer is measured by running both on a text.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_FORMCOMPARISON_H
#define QPLAN_CODEGEN_DRIVER_FORMCOMPARISON_H

#include <cstdint>
#include <string>
#include <vector>

namespace qplan {

/// The rows behind one layer, of all tokens and columns. Errors of the layers before are
/// part of them.
struct LayerError {
  std::string name;     ///< "layers.3"; "logits" for the last
  double error = 0;     ///< root mean square of emitted code - QDQ form
  double deviation = 0; ///< standard deviation of the QDQ form's values

  /// What design.md bounds: 1e-2 with quantized activations, 1e-3 without.
  double relative() const { return deviation > 0 ? error / deviation : 0; }
};

/// Both forms on the same tokens.
struct FormComparison {
  std::vector<LayerError> layers; ///< by depth; a layer without a single output is missing
  LayerError logits;
  double kl = 0;                  ///< mean KL(QDQ form || emitted code) over positions, nats
  int64_t tokens = 0;
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_FORMCOMPARISON_H
