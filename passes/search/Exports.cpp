//===- Exports.cpp - the table of engines ---------------------------------===//
//
// Engines fuse query, key and value, and gate and up, and want one scheme for each fused
// linear, and one for the experts of a layer; GGUF names a type for each tensor, which holds a
// bank of experts. vLLM is compressed-tensors less what its
// dispatch refuses; TensorRT-LLM reads ModelOpt's mixed checkpoints.
//
//===----------------------------------------------------------------------===//
#include "passes/search/Exports.h"

#include "ir/Failure.h"

#include <llvm/ADT/STLExtras.h>

namespace qplan {
namespace {

constexpr const char *packedIntegers =
    "int2_g32,int2_g64,int2_g128,int3,int3_g32,int3_g64,int3_g128,int4,int4_g32,int4_g64,"
    "int4_g128,int4_g32_asym,int4_g64_asym,int4_g128_asym,int5,int5_g32,int5_g64,int5_g128,int6,"
    "int6_g32,int6_g64,int6_g128,int8,int8_g32,int8_g64,int8_g128,int8a8,int8a8s,fp8_e4m3afp8,"
    "fp8_e4m3_tensorafp8s,nvfp4,mxfp4,mxfp8,bf16,f16";
constexpr const char *modeloptHolds =
    "int4_g64,int4_g128,int4_g128afp8s,int8,int8a8s,fp8_e4m3afp8,fp8_e4m3_tensorafp8s,"
    "fp8_e4m3_b128,nvfp4,mxfp8,bf16,f16";

const std::vector<ExportKind> &table() {
  static const std::vector<ExportKind> rows = {
      {"compressed-tensors",
       packedIntegers,
       "int3_g128@imatrix,int4_g128@imatrix,int4_g64@imatrix,int4_g32@imatrix,"
       "int4_g32_asym@imatrix,int6_g64@imatrix,int8,bf16",
       {"qkv", "gate_up", "experts"},
       false},
      {"gguf",
       "q2_K,q3_K,q4_K,q5_K,q6_K,q4_0,q4_1,q5_0,q5_1,q8_0,iq4_nl,iq4_xs,mxfp4,nvfp4,bf16,f16,f32",
       "q2_K@imatrix,q3_K@imatrix,iq4_xs@imatrix,q4_K@imatrix,q5_K@imatrix,q6_K@imatrix,q8_0,bf16",
       {"experts"},
       true},
      {"modelopt",
       modeloptHolds,
       "int4_g128@imatrix,int4_g64@imatrix,nvfp4,fp8_e4m3afp8,int8,bf16",
       {"qkv", "gate_up", "experts"},
       false},
      {"tensorrt-llm",
       modeloptHolds,
       "int4_g128@imatrix,nvfp4,fp8_e4m3afp8,bf16",
       {"qkv", "gate_up", "experts"},
       false},
      {"vllm",
       packedIntegers,
       "int4_g128@imatrix,int4_g64@imatrix,int4_g32@imatrix,int8,bf16",
       {"qkv", "gate_up", "experts"},
       false},
  };
  return rows;
}

} // namespace

bool ExportKind::canHold(const Treatment &treatment) const {
  auto list = parseTreatmentList(holds);
  if (!list) { // a row that names what does not exist; a test reads every row
    llvm::consumeError(list.takeError());
    return false;
  }
  return llvm::any_of(*list, [&](const Treatment &held) {
    return held.weight == treatment.weight &&
           (ownActivations || held.activation == treatment.activation);
  });
}

llvm::Expected<const ExportKind *> exportKind(llvm::StringRef name) {
  std::string names;
  std::vector<std::string> known;
  for (const ExportKind &row : table()) {
    if (name == row.name)
      return &row;
    names += (names.empty() ? "" : ", ") + std::string(row.name);
    known.push_back(row.name);
  }
  llvm::StringRef near = nearestName(name, known);
  return usageError("--for-export {}: there is no such export{}; the kinds are {}", name.str(),
                    near.empty() ? std::string() : fmt::format(" (did you mean {}?)", near.str()),
                    names);
}

llvm::ArrayRef<ExportKind> exportKinds() { return table(); }

} // namespace qplan
