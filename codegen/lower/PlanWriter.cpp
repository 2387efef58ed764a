//===- PlanWriter.cpp - makes the ops of a plan ---------------------------===//

#include "codegen/lower/PlanWriter.h"

#include "ir/packings/Panel16.h"

#include <fmt/format.h>
#include <llvm/Support/MathExtras.h>

using namespace mlir;
using namespace qplan;

PlanWriter::PlanWriter(ModuleOp module, StringRef name, ArrayRef<NamedAttribute> attributes)
    : builder(module.getContext()), declarations(module.getContext()) {
  builder.setInsertionPointToEnd(module.getBody());
  programOp = plan::ProgramOp::create(builder, module.getLoc(), name, attributes);
  if (programOp.getBody().empty())
    programOp.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&programOp.getBlock());
  declarations.setInsertionPointToStart(&programOp.getBlock());
}

std::string PlanWriter::buffer(int64_t bytesPerToken, int64_t fixed) {
  std::string name = fmt::format("b{}", buffers++);
  auto i64 = [&](int64_t bytes) {
    return builder.getI64IntegerAttr(int64_t(llvm::alignTo(uint64_t(bytes), 64)));
  };
  plan::BufferOp::create(declarations, programOp.getLoc(), builder.getStringAttr(name),
                         i64(bytesPerToken), i64(fixed), IntegerAttr(), IntegerAttr());
  return name;
}

std::string PlanWriter::addWeight(StringRef source, StringRef format, StringRef packing,
                                  int64_t rows, int64_t columns, int64_t bytes,
                                  ArrayRef<NamedAttribute> details, Location location,
                                  ArrayRef<std::string> sites) {
  Attribute detailAttr = details.empty() ? Attribute() : builder.getDictionaryAttr(details);
  std::string key = fmt::format("{}\n{}\n{}\n{}", source.str(), format.str(), packing.str(), rows);
  for (const NamedAttribute &detail : details) {
    std::string text;
    llvm::raw_string_ostream(text) << detail.getValue();
    key += "\n" + text;
  }
  std::string &name = known[key];
  if (!name.empty()) {
    // A tied tensor: the weight belongs to these sites as well.
    auto symbol = programOp.lookupSymbol<plan::WeightOp>(name);
    SmallVector<Attribute> all;
    if (symbol.getSites())
      llvm::append_range(all, *symbol.getSites());
    for (const std::string &site : sites)
      all.push_back(builder.getStringAttr(site));
    if (!all.empty())
      symbol.setSitesAttr(builder.getArrayAttr(all));
    return name;
  }
  name = fmt::format("w{}", weights++);
  SmallVector<Attribute> siteAttrs;
  for (const std::string &site : sites)
    siteAttrs.push_back(builder.getStringAttr(site));
  plan::WeightOp::create(declarations, location, builder.getStringAttr(name),
                         builder.getStringAttr(source), builder.getStringAttr(format),
                         builder.getStringAttr(packing), builder.getI64IntegerAttr(rows),
                         builder.getI64IntegerAttr(columns), builder.getI64IntegerAttr(bytes),
                         IntegerAttr(), siteAttrs.empty() ? ArrayAttr() : builder.getArrayAttr(siteAttrs),
                         llvm::cast_or_null<DictionaryAttr>(detailAttr));
  return name;
}

StoredMatrix PlanWriter::matrix(const MatrixSpec &spec, Location location) {
  PanelLayout layout = panelLayoutFor(spec.format, spec.rows, spec.columns);
  SmallVector<NamedAttribute> details;
  if (spec.experts > 1)
    details.push_back(builder.getNamedAttr("experts", builder.getI64IntegerAttr(spec.experts)));
  if (!spec.method.empty())
    details.push_back(builder.getNamedAttr("method", builder.getStringAttr(spec.method)));
  if (!spec.emulate.empty())
    details.push_back(builder.getNamedAttr("emulate", builder.getStringAttr(spec.emulate)));
  if (spec.siteRows.size() > 1)
    details.push_back(builder.getNamedAttr("site_rows", builder.getDenseI64ArrayAttr(spec.siteRows)));

  StoredMatrix stored;
  stored.symbol = addWeight(spec.source, formatName(spec.format), "panel16",
                            spec.rows * spec.experts, spec.columns,
                            layout.bytes() * spec.experts, details, location, spec.sites);
  stored.rows = spec.rows;
  stored.columns = spec.columns;
  stored.element = layout.kernelElement();
  stored.group = layout.group;
  stored.scale = int64_t(layout.scale);
  stored.hasMin = layout.hasMin;
  stored.offset = layout.offset;
  return stored;
}

std::string PlanWriter::vector(StringRef source, int64_t columns, Location location,
                               int64_t rows) {
  return addWeight(source, "f32", "rows_f32", rows, columns, rows * columns * 4, {}, location);
}

std::string PlanWriter::constant(ArrayRef<double> values, Location location) {
  NamedAttribute detail = builder.getNamedAttr("values", builder.getDenseF64ArrayAttr(values));
  return addWeight("constant", "f32", "rows_f32", 1, int64_t(values.size()),
                   int64_t(values.size()) * 4, detail, location);
}

Param PlanWriter::whole(StringRef name, int64_t value) {
  return {name, builder.getI64IntegerAttr(value)};
}

Param PlanWriter::real(StringRef name, double value) {
  return {name, builder.getF64FloatAttr(value)};
}

void PlanWriter::launch(StringRef kernel, ArrayRef<std::string> bufferNames,
                        ArrayRef<std::string> weightNames, ArrayRef<Param> params,
                        ArrayRef<int64_t> reads, ArrayRef<int64_t> writes, Location location,
                        ArrayAttr sites) {
  SmallVector<NamedAttribute> attributes;
  for (const Param &param : params)
    attributes.push_back(builder.getNamedAttr(param.name, param.value));
  SmallVector<StringRef> bufferRefs(bufferNames.begin(), bufferNames.end());
  SmallVector<StringRef> weightRefs(weightNames.begin(), weightNames.end());
  plan::LaunchOp::create(builder, location, kernel, bufferRefs, weightRefs,
                         builder.getDictionaryAttr(attributes), reads, writes, sites);
}
