//===- FormatPages.cpp - the table of formats for people and programs -----===//
//
// `qplan formats`, its JSON, and the reference page, all written from the table.
// Bits for each weight are those of a 4096 x 4096 matrix.
//
//===----------------------------------------------------------------------===//
#include "ir/Failure.h"
#include "ir/Formats.h"
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

namespace qplan {
namespace {

constexpr int64_t exampleSize = 4096;

double exampleBits(const FormatInfo &info) {
  llvm::Expected<double> bits = effectiveBits(info.id, exampleSize, exampleSize);
  if (bits)
    return *bits;
  llvm::consumeError(bits.takeError());
  return 0;
}

const char *elementName(const FormatInfo &info) {
  static constexpr const char *integers[] = {"i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8"};
  switch (info.kind) {
  case ElementKind::F32:
    return "f32";
  case ElementKind::F16:
    return "f16";
  case ElementKind::BF16:
    return "bf16";
  case ElementKind::Int:
    return integers[info.elementBits];
  case ElementKind::E4M3:
    return "f8E4M3FN";
  case ElementKind::E5M2:
    return "f8E5M2";
  case ElementKind::E3M4:
    return "f8E3M4";
  case ElementKind::E2M5:
    return "f8E2M5 (finite)";
  case ElementKind::E3M2:
    return "f6E3M2FN";
  case ElementKind::E2M3:
    return "f6E2M3FN";
  case ElementKind::E2M1:
    return "f4E2M1FN";
  case ElementKind::E1M2:
    return "f4E1M2FN";
  case ElementKind::E3M0:
    return "f4E3M0FN";
  case ElementKind::NF4:
    return "NF4 table";
  case ElementKind::FP4:
    return "FP4 table of bitsandbytes";
  case ElementKind::IQ4:
    return "IQ4_NL table";
  case ElementKind::Trellis:
    return "16-bit states";
  }
  return "";
}

const char *scaleName(ScaleType type) {
  switch (type) {
  case ScaleType::None:
    return "";
  case ScaleType::F16:
    return "f16";
  case ScaleType::F32:
    return "f32";
  case ScaleType::E8M0:
    return "f8E8M0FNU";
  case ScaleType::E4M3:
    return "f8E4M3FN";
  case ScaleType::Dynamic8:
    return "8-bit map";
  }
  return "";
}

/// What is kept beside the rows.
const char *sideText(SideData side) {
  switch (side) {
  case SideData::None:
    return "";
  case SideData::Scale:
    return "f32 a tensor";
  case SideData::Element:
    return "f32 a tensor that names the element";
  case SideData::Block128:
    return "f32 a block of 128 x 128";
  case SideData::Widths:
    return "f32 a tensor, f32 for the widths of 256 columns";
  case SideData::Nested:
    return "f32 for 256 blocks, f32 offset a tensor";
  }
  return "";
}

/// What a scale belongs to.
std::string scaleText(const FormatInfo &info) {
  const char *side = sideText(info.side);
  if (info.scale == ScaleType::None)
    return *side ? side : "none";
  std::string text = scaleName(info.scale);
  if (info.family == CodecFamily::Sparse)
    return text + (info.groupColumns ? fmt::format(" for {} columns", info.groupColumns)
                                     : std::string(" a row"));
  if (info.blockColumns == 0)
    return text + " a row";
  text += fmt::format(" a block of {}", info.blockColumns);
  if (info.groupColumns != info.blockColumns)
    text += fmt::format(", small integers for {}", info.groupColumns);
  if (*side)
    text += fmt::format(", {}", side);
  return text;
}

const char *zeroText(const FormatInfo &info) {
  switch (info.zero) {
  case ZeroPoint::None:
    return "none";
  case ZeroPoint::Integer:
    return "integer";
  case ZeroPoint::Minimum:
    return "minimum";
  }
  return "";
}

std::string roleText(const FormatInfo &info) {
  std::string text;
  auto add = [&](bool has, const char *role) {
    if (has)
      text += (text.empty() ? "" : ", ") + std::string(role);
  };
  add(info.isWeight, "weights");
  add(info.isActivation, "activations");
  add(info.isKv, "kv");
  return text;
}

std::string activationText(const FormatInfo &info) {
  if (!info.isWeight || info.activation == FormatId::F32)
    return "none";
  return formatInfo(info.activation).name;
}

std::string orDash(llvm::StringRef text) { return text.empty() ? "-" : text.str(); }

std::string blockText(const FormatInfo &info) {
  return info.blockColumns ? std::to_string(info.blockColumns) : "row";
}

} // namespace

std::string formatsTable() {
  std::string text = fmt::format("{:<16} {:>8} {:>6}  {:<31} {}\n", "format", "bits", "block",
                                 "for", "meaning");
  for (const FormatInfo &info : allFormats())
    text += fmt::format("{:<16} {:>8.4f} {:>6}  {:<31} {}\n", info.name, exampleBits(info),
                        blockText(info), roleText(info), info.summary);
  text += "bits: everything stored for a weight of a 4096 x 4096 matrix\n";
  return text;
}

std::string formatsJson() {
  llvm::json::Array rows;
  for (const FormatInfo &info : allFormats()) {
    llvm::json::Object row{
        {"name", info.name},
        {"summary", info.summary},
        {"element", elementName(info)},
        {"element_bits", int64_t(info.elementBits)},
        {"block_columns", int64_t(info.blockColumns)},
        {"group_columns", int64_t(info.groupColumns)},
        {"effective_bits", exampleBits(info)},
        {"scale", scaleText(info)},
        {"zero_point", zeroText(info)},
        {"weights", info.isWeight},
        {"activations", info.isActivation},
        {"kv_cache", info.isKv},
        {"default_activation", activationText(info)},
        {"encodes", info.toleranceE5 != 0},
    };
    if (info.ggufType != 65535)
      row["gguf_type"] = int64_t(info.ggufType);
    if (*info.safetensors)
      row["safetensors"] = info.safetensors;
    if (*info.compressedTensors)
      row["compressed_tensors"] = info.compressedTensors;
    if (*info.modelopt)
      row["modelopt"] = info.modelopt;
    rows.push_back(std::move(row));
  }
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << llvm::json::Value(llvm::json::Object{{"formats", std::move(rows)}}) << '\n';
  return text;
}

std::string formatsMarkdown() {
  std::string text =
      "# Formats\n\n"
      "Written from `ir/Formats.td` by `tools/dev docs`. A format says what stored numbers mean;\n"
      "bits are everything stored for a weight of a 4096 x 4096 matrix. Rows of our integer\n"
      "formats are codes (unsigned, LSB first), then scales, then zero points (LSB first):\n"
      "value = scale * (code - zero), where zero is 2^(bits-1) for the symmetric ones. The last\n"
      "block of such a row may be short. GGML's formats are its blocks, byte for byte.\n\n"
      "Rows of minifloats and tables are codes (least significant bit first), then scales:\n"
      "value = scale * number of the code, rounded to f32 once. Numbers beside the rows belong to\n"
      "the tensor. Codes are rounded from x / scale to the nearest number, ties to the even code;\n"
      "beyond the greatest they saturate; infinity and NaN are refused.\n\n"
      "- E8M0 scales (OCP MX) are 2^(byte - 127). Rule max: the least power of two by which the\n"
      "  largest magnitude does not saturate, as ModelOpt, cuBLAS and torchao's RCEIL have it; rule\n"
      "  mse also tries the powers beside it, one of which is OCP's floor. Codes of mxint8 count\n"
      "  1/64, of -127..127, and its power is the greatest up to the largest magnitude.\n"
      "- nvfp4: the tensor's scale t is amax / 2688; a block's scale is f8E4M3FN of amax / (6 * t),\n"
      "  at least 2^-9, and 1 for zeros; the effective scale is f32(block * t). Rule mse tries the\n"
      "  f8E4M3FN numbers around it, which holds the choice between 4 and 6 for the top of a block.\n"
      "  Activations: t is fixed by calibration, block scales are found at run time.\n"
      "- nf4 and fp4 round x * f32(1 / amax), ties to the lower number. With double quantization\n"
      "  the scale is f32(f32(map[byte] * s) + offset), with s of 256 blocks, row after row, and\n"
      "  offset the mean of amax (summed in f64); rule max chooses codes by amax itself.\n"
      "- fp8_e4m3_b128: scale amax / 448 of each block of 128 x 128, the last ones smaller.\n"
      "- llm_fp4: the tensor's rows are those of one of three formats, each row with its own scale\n"
      "  of rule max or mse; the one with the least squared error under rule mse is taken. Panels\n"
      "  hold the table of its 16 numbers beside the codes.\n\n"
      "| format | element | bits | scale | zero point | for | runs with | GGUF | safetensors | "
      "compressed-tensors | ModelOpt |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const FormatInfo &info : allFormats())
    text += fmt::format("| `{}` | {} | {:.4f} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
                        info.name, elementName(info), exampleBits(info), scaleText(info),
                        zeroText(info), roleText(info), activationText(info),
                        info.ggufType == 65535 ? "-" : std::to_string(info.ggufType),
                        orDash(info.safetensors), orDash(info.compressedTensors),
                        orDash(info.modelopt));
  text += "\n";
  for (const FormatInfo &info : allFormats())
    text += fmt::format("- `{}`: {}.{}\n", info.name, info.summary,
                        info.toleranceE5 ? "" : " Read, not written.");
  return text;
}

} // namespace qplan
