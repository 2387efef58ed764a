//===- Tables.cpp - what was measured, caches, all sites ------------------===//

#include "tools/qplan/report/Charts.h"
#include "tools/qplan/report/Sections.h"

#include <fmt/format.h>
#include <llvm/ADT/StringMap.h>

namespace qplan {
namespace {

/// One line of the table of measurements, from a field of `eval --json` or `bench --json`.
struct MeasurementRow {
  const char *key, *name, *unit;
  double factor = 1;
  int digits = 4;
};

constexpr MeasurementRow accuracyRows[] = {
    {"kl_mean", "KL(reference || plan)", "nats"},
    {"top1_agreement", "same most likely token", "%", 100},
    {"perplexity", "perplexity", ""},
    {"nll_per_token", "negative log-likelihood", "nats a token", 1, 5},
    {"bits_per_byte", "compression of the text", "bits a byte"},
    {"scored_tokens", "tokens scored", "", 1, 9}};

constexpr MeasurementRow speedRows[] = {
    {"decode_tokens_per_s", "decode", "tokens/s"},
    {"ms_per_token", "one decode step", "ms"},
    {"prefill_tokens_per_s", "prefill", "tokens/s"},
    {"first_token_ms", "first token of a prompt of 5", "ms"},
    {"load_ms", "load", "ms"},
    {"effective_gb_per_s", "memory read by decode", "GB/s"},
    {"dram_gb_per_s", "memory read by a plain sum", "GB/s"},
    {"peak_rss_bytes", "peak memory", "MB", 1e-6},
    {"peak_anon_bytes", "of it not mapped from the plan", "MB", 1e-6},
    {"threads", "threads", ""},
    {"batch", "batch", ""}};

std::string valueText(const MeasurementRow &row, const nlohmann::ordered_json &object) {
  auto value = factOf(object, row.key);
  return value ? shortNumber(*value * row.factor, row.digits) : "";
}

template <size_t N>
void writeRows(Markup &page, const MeasurementRow (&rows)[N], const nlohmann::ordered_json &plan,
               const nlohmann::ordered_json *reference) {
  for (const MeasurementRow &row : rows) {
    std::string value = valueText(row, plan);
    if (value.empty())
      continue;
    page.open("tr").leaf("td", {}, row.name).leaf("td", {{"class", "n"}}, value);
    if (reference)
      page.leaf("td", {{"class", "n"}}, valueText(row, *reference));
    page.leaf("td", {{"class", "soft"}}, row.unit).close();
  }
}

void writeAccuracy(Markup &page, const ReportData &data) {
  page.leaf("h3", {}, "Accuracy");
  if (!data.eval) {
    writeAsk(page, "To score the plan and its distance from the unquantized model:",
             fmt::format("qplan report {} -o report.html --text text.txt --reference f32.qplan",
                         data.name));
    return;
  }
  page.open("table").open("tr").leaf("th", {}, "on " + data.textName);
  page.leaf("th", {{"class", "n"}}, "this plan");
  if (data.referenceEval)
    page.leaf("th", {{"class", "n"}}, data.referenceName);
  page.leaf("th", {}, "").close();
  writeRows(page, accuracyRows, *data.eval, data.referenceEval ? &*data.referenceEval : nullptr);
  auto row = [&](llvm::StringRef title, double kl) {
    page.open("tr").leaf("td", {}, title);
    page.leaf("td", {{"class", "n"}}, shortNumber(kl, 4));
    if (data.referenceEval)
      page.leaf("td", {}, "");
    page.leaf("td", {{"class", "soft"}}, "nats").close();
  };
  if (data.chosen)
    row("KL that the search predicted", data.chosen->kl);
  if (data.chosen && data.chosen->measuredKl)
    row("KL that the search measured, on calibration text", *data.chosen->measuredKl);
  page.close();
}

void writeSpeed(Markup &page, const ReportData &data) {
  page.leaf("h3", {}, "Speed and memory");
  if (!data.bench) {
    writeAsk(page, "To time the plan on this machine:",
             fmt::format("qplan report {} -o report.html --bench", data.name));
    return;
  }
  page.open("table").open("tr").leaf("th", {}, "on this machine");
  page.leaf("th", {{"class", "n"}}, "this plan").leaf("th", {}, "").close();
  writeRows(page, speedRows, *data.bench, nullptr);
  page.close();
}

} // namespace

void writeMeasurements(Markup &page, const ReportFacts &facts) {
  page.open("section");
  page.leaf("h2", {}, "Measured");
  writeAccuracy(page, facts.data);
  writeSpeed(page, facts.data);
  page.close();
}

void writeCaches(Markup &page, const ReportFacts &facts) {
  if (!facts.data.front || facts.data.front->caches.empty())
    return;
  const SearchFront &front = *facts.data.front;
  const bool timed = front.caches[0].decodeMs.has_value();
  page.open("section");
  page.leaf("h2", {}, "Keys and values");
  page.leaf("p", {{"class", "soft"}},
            "What each format of the cache costs by itself: the divergence of the unquantized "
            "model with only its cache changed.");
  page.open("table").open("tr").leaf("th", {}, "format");
  page.leaf("th", {{"class", "n"}}, "KL, nats").leaf("th", {{"class", "n"}}, "bytes a token");
  page.leaf("th", {{"class", "n"}}, fmt::format("{} tokens", front.context));
  if (timed)
    page.leaf("th", {{"class", "n"}}, "ms more when full");
  page.leaf("th", {}, "").close();
  for (size_t i = 0; i < front.caches.size(); ++i) {
    const FrontCache &cache = front.caches[i];
    page.open("tr").open("td").leaf("code", {}, cache.format).close();
    page.leaf("td", {{"class", "n"}}, shortNumber(cache.kl));
    page.leaf("td", {{"class", "n"}}, fmt::format("{:.0f}", cache.bytesPerToken));
    page.leaf("td", {{"class", "n"}}, bytesText(front.bytesOf(cache)));
    if (timed)
      page.leaf("td", {{"class", "n"}}, cache.decodeMs ? shortNumber(*cache.decodeMs) : "");
    const bool chosen = facts.data.chosen && facts.data.chosen->cache == uint32_t(i);
    page.leaf("td", {{"class", "soft"}}, chosen ? "this plan" : "").close();
  }
  page.close().close();
}

void writeSiteTable(Markup &page, const ReportFacts &facts) {
  llvm::StringMap<std::pair<const FrontGroup *, size_t>> groups;
  if (facts.data.front && facts.data.chosen && !facts.data.chosen->choice.empty())
    for (size_t g = 0; g < facts.data.front->groups.size(); ++g)
      for (const std::string &site : facts.data.front->groups[g].sites)
        groups[site] = {&facts.data.front->groups[g], facts.data.chosen->choice[g]};
  page.open("section", {{"class", "long"}});
  page.leaf("h2", {}, "All sites");
  page.open("details").leaf("summary", {}, fmt::format("{} sites", facts.data.sites.size()));
  page.open("table").open("tr");
  for (const char *title : {"site", "treatment", "shape"})
    page.leaf("th", {}, title);
  for (const char *title : {"bits", "stored", "predicted KL"})
    page.leaf("th", {{"class", "n"}}, title);
  page.close();
  for (const ReportSite &site : facts.data.sites) {
    auto group = groups.find(site.name);
    std::string kl = group == groups.end()
                         ? ""
                         : shortNumber(group->second.first->cells[group->second.second].kl);
    if (!kl.empty() && group->second.first->sites.size() > 1)
      kl += " with its group";
    page.open("tr").open("td").leaf("code", {}, site.name).close();
    page.open("td").leaf("code", {}, site.treatment).close().leaf("td", {}, site.shape);
    page.leaf("td", {{"class", "n"}}, fmt::format("{:.3f}", site.bits));
    page.leaf("td", {{"class", "n"}}, bytesText(site.bytes)).leaf("td", {{"class", "n"}}, kl);
    page.close();
  }
  page.close().close().close();
}

} // namespace qplan
