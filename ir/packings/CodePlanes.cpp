//===- CodePlanes.cpp - codes of 2 to 8 bits side by side -----------------===//

#include "ir/packings/CodePlanes.h"

#include "ir/codecs/Numbers.h"

namespace qplan {
namespace {

constexpr int64_t panelRows = PanelLayout::panelRows;

/// Calls visit(width, first, offset) for each plane of codes of `bits` bits: it holds bits
/// [first, first + width) of a code and lies `offset` bytes into a step.
template <typename Visit>
void forEachPlane(int bits, int64_t stepColumns, Visit visit) {
  int first = 0;
  int64_t offset = 0;
  for (int width : {8, 4, 2, 1})
    if (bits & width) {
      visit(width, first, offset);
      first += width;
      offset += stepColumns * width * panelRows / 8;
    }
}

} // namespace

void packStep(const PanelLayout &layout, const uint8_t *codes, int64_t r, uint8_t *step) {
  const int64_t columns = layout.stepColumns();
  forEachPlane(layout.codeBits(), columns, [&](int width, int first, int64_t offset) {
    const uint32_t mask = ((1u << width) - 1) * 0x01010101u;
    const int quads = 8 / width; // groups of four columns in a vector
    for (int64_t v = 0; v < columns / (4 * quads); ++v) {
      uint32_t word = 0;
      for (int q = 0; q < quads; ++q)
        word |= (loadUnaligned<uint32_t>(codes + (v * quads + q) * 4) >> first & mask)
                << (q * width);
      storeUnaligned(step + offset + v * 64 + r * 4, word);
    }
  });
}

void packCodes(const PanelLayout &layout, const uint8_t *codes, int64_t r, uint8_t *out) {
  const int64_t columns = layout.stepColumns();
  for (int64_t t = 0; t < layout.numSteps(); ++t)
    packStep(layout, codes + t * columns, r, out + t * layout.stepBytes());
}

int codeAt(const PanelLayout &layout, const uint8_t *step, int64_t r, int64_t i) {
  int code = 0;
  forEachPlane(layout.codeBits(), layout.stepColumns(), [&](int bits, int first, int64_t offset) {
    const int64_t columns = 32 / bits; // of a vector
    const uint8_t byte = step[offset + i / columns * 64 + 4 * r + i % 4];
    code |= (byte >> (i % columns / 4 * bits) & ((1 << bits) - 1)) << first;
  });
  return code;
}

} // namespace qplan
