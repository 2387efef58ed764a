//===- LivePass.h - one forward pass, launch by launch -----------*- C++ -*-===//
//
// What runs that are entered in the middle need to know of a plan: where buffers lie
// for a number of tokens, which hold values between two launches, which launch reads a
// weight or the rows of a site. A pass owns its arena and its cache, so that they stay
// as they are from one run to the next.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_CODEGEN_DRIVER_LIVEPASS_H
#define QPLAN_CODEGEN_DRIVER_LIVEPASS_H

#include "codegen/driver/Calibrator.h"

namespace qplan {

/// Rows of f32 in the arena.
struct LiveRows {
  float *first = nullptr;
  int64_t count = 0, columns = 0;
  int64_t stride = 0; ///< floats from a row to the next

  float *row(int64_t r) const { return first + r * stride; }
};

/// Where the keys and values of a layer are stored.
struct CacheStore {
  int64_t launch = 0;
  int64_t key = 0, value = 0; ///< first columns, in the rows that the launch reads
};

class LivePass {
public:
  /// For windows of `tokens` tokens. Errors: more than one pass takes (input), memory (machine).
  static llvm::Expected<std::unique_ptr<LivePass>> create(LiveModel &live, int64_t tokens);
  ~LivePass();

  int64_t launches() const { return int64_t(steps.size()); }
  /// Begins a window: what follows runs on `tokens`. `logits`: [tokens, vocabulary].
  llvm::Error begin(llvm::ArrayRef<int32_t> tokens, float *logits);
  /// Runs launches [first, end); nothing if they are none.
  void run(int64_t first, int64_t end);

  /// The first launch that reads the bytes of `weight`; launches() if none does.
  int64_t readerOf(plan::WeightOp weight) const;
  /// The launch that multiplies the rows that enter `site`; launches() if none does.
  int64_t launchOf(llvm::StringRef site) const;
  /// The launch that observes into the memory at `offset`; launches() if none does.
  int64_t observerAt(int64_t offset) const;
  /// The launch that stores what attention of `layer`, which the model has, will read.
  CacheStore storeOf(int64_t layer) const;
  /// The rows that launch `index`, one of those, reads. The last begin() counts.
  LiveRows inputOf(int64_t index) const;

  /// The last launch up to `index` that runs can be entered at, for few bytes.
  int64_t entryFor(int64_t index) const;
  /// Bytes that are alive when launch `index` begins.
  uint64_t stateBytes(int64_t index) const;
  /// Copies them out and back in.
  void saveState(int64_t index, uint8_t *to) const;
  void loadState(int64_t index, const uint8_t *from);

private:
  struct Buffer {
    uint64_t offset = 0, bytes = 0;
    int64_t firstWrite = -1, lastRead = -1; ///< launches
  };
  struct Step {
    std::string kernel;
    std::vector<size_t> buffers;
    mlir::DictionaryAttr params;
    int64_t number(llvm::StringRef name, int64_t otherwise) const;
  };
  explicit LivePass(LiveModel &live, int64_t tokens) : live(live), length(tokens) {}
  void readProgram();
  void findEntries();
  llvm::Error reserve();

  LiveModel &live;
  const int64_t length;
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  llvm::StringMap<int64_t> siteLaunch;
  llvm::DenseMap<int64_t, int64_t> weightReader; ///< first launch that reads what lies at an offset
  std::vector<int64_t> entries; ///< of each launch
  uint8_t *arena = nullptr, *cache = nullptr;
  std::vector<void *> pages;
  std::vector<int32_t> tokenIds, positions, rowSequence, logitRow;
  qplan_sequence_v1 sequence = {};
  qplan_args_v1 args = {};
};

} // namespace qplan

#endif // QPLAN_CODEGEN_DRIVER_LIVEPASS_H
