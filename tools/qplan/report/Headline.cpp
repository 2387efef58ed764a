//===- Headline.cpp - what a report says first ----------------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Sections.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace qplan {
namespace {

std::string textFact(const nlohmann::ordered_json &object, const char *key) {
  return object.is_object() && object.contains(key) && object[key].is_string()
             ? object[key].get<std::string>()
             : std::string();
}

void writeTile(Markup &page, const std::string &value, const std::string &what,
               const std::string &more) {
  page.open("div", {{"class", "tile"}});
  page.leaf("b", {}, value);
  page.leaf("span", {{"class", "what"}}, what);
  page.leaf("span", {{"class", "soft"}}, more);
  page.close();
}

std::string targetText(const nlohmann::ordered_json &manifest) {
  if (!manifest.contains("target"))
    return "";
  const auto &target = manifest["target"];
  std::string cpu = textFact(target, "cpu");
  return textFact(target, "triple") + (cpu.empty() ? "" : ":" + cpu);
}

/// How many times smaller than its checkpoint in bf16 the plan is; 0 when that is not known.
double shrinkage(const ReportData &data) {
  double parameters = factOf(data.manifest, "parameters").value_or(0);
  return data.weightBytes > 0 ? 2 * parameters / data.weightBytes : 0;
}

/// The sentence that a hurried reader takes away.
std::string verdict(const ReportData &data) {
  double bits = factOf(data.manifest, "effective_bits").value_or(0);
  std::string text = fmt::format("{:.2f} bits for each weight of the layers, {} of weights in all",
                                 bits, bytesText(data.weightBytes));
  if (double ratio = shrinkage(data); ratio > 1.05)
    text += fmt::format(" ({:.1f} times smaller than bf16)", ratio);
  if (data.eval)
    if (auto kl = factOf(*data.eval, "kl_mean"))
      return text + fmt::format(". Its predictions are {} nats (KL) away from those of {}.",
                                shortNumber(*kl), data.referenceName);
  if (data.chosen)
    return text + fmt::format(". The search expects its predictions {} nats (KL) away from the "
                              "unquantized model's.",
                              shortNumber(data.chosen->kl));
  return text + ".";
}

void accuracyTiles(Markup &page, const ReportData &data) {
  std::optional<double> kl, perplexity, reference, agreement;
  if (data.eval) {
    kl = factOf(*data.eval, "kl_mean");
    perplexity = factOf(*data.eval, "perplexity");
    agreement = factOf(*data.eval, "top1_agreement");
  }
  if (data.referenceEval)
    reference = factOf(*data.referenceEval, "perplexity");
  if (kl) {
    std::string more = fmt::format("from {}", data.referenceName);
    if (agreement)
      more += fmt::format("; same first choice {:.1f} %", 100 * *agreement);
    writeTile(page, shortNumber(*kl), "KL divergence, nats", more);
  } else if (data.chosen && data.chosen->measuredKl) {
    writeTile(page, shortNumber(*data.chosen->measuredKl), "KL divergence, nats",
              fmt::format("measured by the search, on calibration text; predicted {}",
                          shortNumber(data.chosen->kl)));
  } else if (data.chosen) {
    writeTile(page, shortNumber(data.chosen->kl), "KL divergence, nats", "predicted by the search");
  }
  if (perplexity)
    writeTile(page, fmt::format("{:.2f}", *perplexity), "perplexity",
              reference ? fmt::format("{:+.2f} % to the {:.2f} of {}",
                                      100 * (*perplexity / *reference - 1), *reference,
                                      data.referenceName)
                        : "of " + data.textName);
}

void speedTiles(Markup &page, const ReportData &data) {
  if (data.bench) {
    double batch = factOf(*data.bench, "batch").value_or(1);
    double threads = factOf(*data.bench, "threads").value_or(1);
    std::string how = fmt::format("tokens a second, batch {:.0f}, {:.0f} threads", batch, threads);
    if (auto rate = factOf(*data.bench, "decode_tokens_per_s"))
      writeTile(page, shortNumber(*rate, 4), "decode", how);
    if (auto rate = factOf(*data.bench, "prefill_tokens_per_s"))
      writeTile(page, shortNumber(*rate, 4), "prefill", how);
  } else if (data.chosen && data.chosen->decodeMs) {
    writeTile(page, shortNumber(1e3 / *data.chosen->decodeMs, 4), "decode, tokens a second",
              "predicted from timed kernels");
  }
}

} // namespace

void writeHeadline(Markup &page, const ReportFacts &facts) {
  const ReportData &data = facts.data;
  const auto &manifest = data.manifest;
  page.leaf("h1", {}, data.name);
  page.leaf(
      "p", {{"class", "soft"}},
      fmt::format(
          "{}, {:.1f} M parameters in {:.0f} layers{}, compiled for {}; keys and "
          "values in {}{}",
          textFact(manifest, "architecture"), factOf(manifest, "parameters").value_or(0) / 1e6,
          factOf(manifest, "layers").value_or(0),
          manifest.contains("rotate") ? ", rotated (" + textFact(manifest, "rotate") + ")" : "",
          targetText(manifest), textFact(manifest, "kv_cache"),
          textFact(manifest, "form") == "qdq" ? "; this is the QDQ form, a reference in f32" : ""));
  page.leaf("p", {{"class", "verdict"}}, verdict(data));
  page.open("div", {{"class", "tiles"}});
  writeTile(page, shortNumber(factOf(manifest, "effective_bits").value_or(0)), "effective bits",
            fmt::format("all that is stored, in the layers; {} as ModelOpt counts",
                        shortNumber(factOf(manifest, "effective_bits_modelopt").value_or(0))));
  double ratio = shrinkage(data);
  writeTile(page, bytesText(data.weightBytes), "weights on disk and in memory",
            ratio > 1.05 ? fmt::format("{:.1f} times smaller than bf16", ratio) : "");
  accuracyTiles(page, data);
  speedTiles(page, data);
  if (data.forms && !data.forms->layers.empty()) {
    double worst = 0;
    for (const LayerError &layer : data.forms->layers)
      worst = std::max(worst, layer.relative());
    writeTile(page, worst > 0 ? shortNumber(worst, 2) : "none", "worst layer error",
              "emitted code against its QDQ form, rms over std");
  }
  page.close();
}

} // namespace qplan
