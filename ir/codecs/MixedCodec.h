//===- MixedCodec.h - scales of groups of mixed widths ----------*- C++ -*-===//
//
// Private to ir/codecs: what the encoder of `mix` formats and the choice of their
// widths (SideObserver) share.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_IR_CODECS_MIXEDCODEC_H
#define QPLAN_IR_CODECS_MIXEDCODEC_H

#include <cstdint>

namespace qplan {

/// The largest scale that is tried, in largest magnitudes of a group.
inline constexpr float mixedHeadroom = 1.5f;

/// The scale of a tensor whose largest magnitude is `largest`: a power of two.
float mixedTensorScale(float largest);

/// The E4M3 byte, with sign, of the scale that suits x[32] (finite) best at `width` bits. Returns
/// the sum of weight[i] * error^2; null weights: all 1.
double chooseMixedScale(const float *x, const float *weight, int width, float tensorScale,
                        uint8_t &byte);

} // namespace qplan
#endif // QPLAN_IR_CODECS_MIXEDCODEC_H
