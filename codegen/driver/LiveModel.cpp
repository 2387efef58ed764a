//===- LiveModel.cpp - a model inside the compiler ------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/LogitMath.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/Path.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace qplan;

/// `bytes` of zeros in a file without a name, so that a model that is larger than memory
/// is paged and not killed.
static llvm::Expected<uint8_t *> mapScratch(uint64_t bytes) {
  llvm::SmallString<128> path;
  int file = -1;
  auto failed = [&](std::error_code code) {
    return machineError("calibration needs {} bytes in {} for the weights that it runs: {}; set "
                        "TMPDIR to a folder with room",
                        bytes, path.str().str(), code.message());
  };
  llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, path);
  llvm::sys::path::append(path, "qplan-live-%%%%%%%%");
  if (auto code = llvm::sys::fs::createUniqueFile(path, file, path))
    return failed(code);
  llvm::sys::fs::remove(path);
  int status = posix_fallocate(file, 0, off_t(bytes));
  void *memory = MAP_FAILED;
  if (status == 0) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    status = errno;
  }
  close(file);
  if (memory == MAP_FAILED)
    return failed(std::error_code(status, std::generic_category()));
  return static_cast<uint8_t *>(memory);
}

llvm::Expected<std::unique_ptr<LiveModel>>
LiveModel::create(mlir::OwningOpRef<mlir::ModuleOp> planned, WeightStore &store, unsigned threads,
                  const ProgressSink &progress) {
  std::unique_ptr<LiveModel> live(new LiveModel);
  live->module = std::move(planned);
  auto target = parseTarget("cpu");
  if (!target)
    return target.takeError();
  EmitOptions emitting;
  auto code = jitModel(*live->module, *target, emitting);
  if (!code)
    return code.takeError();
  live->code = std::move(*code);
  const qplan_model_v1 *description = live->code->model();
  live->weightSize = description->weight_bytes;
  auto mapped = mapScratch(live->weightSize);
  if (!mapped)
    return mapped.takeError();
  live->weightBytes = *mapped;
  // The header that a file would have; model_open_memory checks it.
  std::memset(live->weightBytes, 0, 64);
  std::memcpy(live->weightBytes, "QPLANW1", 8);
  uint64_t dataOffset = 64;
  std::memcpy(live->weightBytes + 8, &live->weightSize, 8);
  std::memcpy(live->weightBytes + 16, &dataOffset, 8);

  PackOptions packing;
  packing.threads = threads;
  packing.progress = [&](uint64_t done, uint64_t total) {
    progress.update("load for calibration", done, total);
  };
  auto sink = [&](uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
    std::memcpy(live->weightBytes + offset, bytes.data(), bytes.size());
    return llvm::Error::success();
  };
  if (auto error = packWeights(live->program(), store, packing, sink))
    return std::move(error);

  qplan_options options = QPLAN_OPTIONS_INIT;
  options.threads = int32_t(threads);
  if (description->statistics_bytes) {
    live->observed = static_cast<uint8_t *>(
        std::aligned_alloc(64, (description->statistics_bytes + 63) / 64 * 64));
    if (!live->observed)
      return machineError("calibration needs {} bytes for statistics",
                          description->statistics_bytes);
    std::memset(live->observed, 0, description->statistics_bytes);
    options.statistics = live->observed;
  }
  char message[512];
  if (qplan_model_open_memory(description, live->weightBytes, live->weightSize, &options,
                              &live->model, message, sizeof message) != QPLAN_OK ||
      qplan_session_create(live->model, &live->session, message, sizeof message) != QPLAN_OK)
    return defectError("calibration: the compiled model does not open: {}", message);
  return live;
}

LiveModel::~LiveModel() {
  qplan_session_free(session);
  qplan_model_close(model);
  if (weightBytes)
    munmap(weightBytes, weightSize);
  std::free(observed);
}

llvm::Error LiveModel::run(llvm::ArrayRef<int32_t> tokens, std::vector<float> *logits) {
  qplan_session_reset(session);
  if (logits)
    logits->resize(tokens.size() * size_t(vocabulary()));
  qplan_work work = {session,
                     tokens.data(),
                     int64_t(tokens.size()),
                     logits ? QPLAN_LOGITS_ALL : QPLAN_LOGITS_NONE,
                     0,
                     logits ? logits->data() : nullptr,
                     nullptr};
  char message[512];
  int status = qplan_step(model, 1, &work, message, sizeof message);
  if (status == QPLAN_OK)
    return llvm::Error::success();
  return llvm::make_error<Failure>(ExitStatus(status), fmt::format("calibration: {}", message));
}

double LiveModel::divergence(const std::vector<float> &reference,
                             const std::vector<float> &other) {
  struct Rows {
    const float *reference, *other;
    int64_t width;
    std::vector<double> sums;
  };
  Rows rows{reference.data(), other.data(), vocabulary(), {}};
  rows.sums.resize(reference.size() / size_t(rows.width));
  auto task = [](void *arg, int64_t i) {
    Rows &r = *static_cast<Rows *>(arg);
    r.sums[size_t(i)] = klDivergence(r.reference + i * r.width, r.other + i * r.width, r.width);
  };
  qplan_model_parallel(model, int64_t(rows.sums.size()), task, &rows);
  double total = 0; // in row order: independent of threads
  for (double sum : rows.sums)
    total += sum;
  return std::max(0.0, total / double(rows.sums.size()));
}

size_t LiveModel::statisticsBytes() const { return size_t(code->model()->statistics_bytes); }

int64_t LiveModel::vocabulary() const { return code->model()->vocabulary; }

llvm::MutableArrayRef<uint8_t> LiveModel::bytesOf(plan::WeightOp weight) {
  return {weightBytes + *weight.getOffset(), size_t(weight.getBytes())};
}
