//===- LiveModel.cpp - a model inside the compiler ------------------------===//

#include "codegen/driver/Calibrator.h"
#include "codegen/driver/LogitMath.h"
#include "codegen/weights/PackWeights.h"
#include "ir/Failure.h"

#include <cstdlib>
#include <cstring>

using namespace qplan;

llvm::Expected<std::unique_ptr<LiveModel>>
LiveModel::create(mlir::OwningOpRef<mlir::ModuleOp> planned, WeightStore &store, unsigned threads,
                  const ProgressSink &progress) {
  std::unique_ptr<LiveModel> live(new LiveModel);
  live->module = std::move(planned);
  auto target = parseTarget("cpu");
  if (!target)
    return target.takeError();
  EmitOptions emitting;
  emitting.launches = true;
  emitting.threads = threads;
  auto code = jitModel(*live->module, *target, emitting);
  if (!code)
    return code.takeError();
  live->code = std::move(*code);
  const qplan_model_v1 *description = live->code->model();
  const uint64_t weightSize = description->weight_bytes;
  auto scratch = ScratchFile::create(weightSize, "the weights that it runs");
  if (!scratch)
    return scratch.takeError();
  live->weightFile = std::move(*scratch);
  live->threads = threads;
  uint8_t *weightBytes = live->weightFile.data();
  // The header that a file would have; model_open_memory checks it.
  std::memset(weightBytes, 0, 64);
  std::memcpy(weightBytes, "QPLANW1", 8);
  uint64_t dataOffset = 64;
  std::memcpy(weightBytes + 8, &weightSize, 8);
  std::memcpy(weightBytes + 16, &dataOffset, 8);

  PackOptions packing;
  packing.threads = threads;
  packing.progress = [&](uint64_t done, uint64_t total) {
    progress.update("load for calibration", done, total);
  };
  auto sink = [weightBytes](uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
    std::memcpy(weightBytes + offset, bytes.data(), bytes.size());
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
  if (qplan_model_open_memory(description, weightBytes, weightSize, &options,
                              &live->model, message, sizeof message) != QPLAN_OK ||
      qplan_session_create(live->model, &live->session, message, sizeof message) != QPLAN_OK)
    return defectError("calibration: the compiled model does not open: {}", message);
  return live;
}

LiveModel::~LiveModel() {
  qplan_session_free(session);
  qplan_model_close(model);
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

void LiveModel::runLaunches(qplan_args_v1 args, int64_t first, int64_t end) {
  args.size = sizeof args;
  args.weights = weightFile.data();
  args.statistics = observed;
  qplan_env_v1 env = {sizeof(qplan_env_v1), int64_t(threads), model,
                      [](void *user, int64_t count, void (*task)(void *, int64_t), void *arg) {
                        qplan_model_parallel(static_cast<qplan_model *>(user), count, task, arg);
                      }};
  code->launches()(&env, &args, first, end);
}

llvm::StringMap<plan::WeightOp> LiveModel::weightsBySite() {
  llvm::StringMap<plan::WeightOp> bySite;
  for (plan::WeightOp weight : program().getWeights())
    if (auto sites = weight.getSites())
      for (mlir::Attribute site : *sites)
        bySite[mlir::cast<mlir::StringAttr>(site).getValue()] = weight;
  return bySite;
}

double LiveModel::divergence(llvm::ArrayRef<float> reference, llvm::ArrayRef<float> other) {
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

const qplan_model_v1 &LiveModel::description() const { return *code->model(); }

int64_t LiveModel::vocabulary() const { return code->model()->vocabulary; }

llvm::MutableArrayRef<uint8_t> LiveModel::bytesOf(plan::WeightOp weight) {
  return {weightFile.data() + *weight.getOffset(), size_t(weight.getBytes())};
}
