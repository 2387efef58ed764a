//===- OutliersTest.cpp - LLM.int8() against bitsandbytes -----------------===//
//
// Inputs/llm_int8/golden.txt holds what bitsandbytes' ops give. Codes, scales and
// the choice of columns must be equal; products agree to the f16 that it rounds to.
//
//===----------------------------------------------------------------------===//
#include "KernelTest.h"

#include <cmath>
#include <fstream>
#include <sstream>

namespace {

struct Case {
  int64_t rows = 0, columns = 0, outputs = 0;
  double threshold = 0;
  std::map<std::string, std::vector<float>> values;

  std::vector<float> operator[](const char *key) const {
    auto found = values.find(key);
    return found == values.end() ? std::vector<float>() : found->second;
  }
};

std::vector<Case> readCases() {
  std::ifstream file(QPLAN_TEST_INPUTS "/llm_int8/golden.txt");
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "case") {
      cases.emplace_back();
      words >> cases.back().rows >> cases.back().columns >> cases.back().outputs >>
          cases.back().threshold;
      continue;
    }
    for (float value; words >> value;)
      cases.back().values[key].push_back(value);
  }
  return cases;
}

template <typename T>
std::vector<T> as(const std::vector<float> &values) {
  return {values.begin(), values.end()};
}

Memory maskOf(const Case &c, const Level &level) {
  Memory x(c["x"]), mask(size_t(c.columns) * 4);
  Launch launch("outlier_mask", c.rows);
  launch.params = {{"K", c.columns}, {"ld", c.columns}, {"threshold", doubleBits(c.threshold)}};
  launch.buffers = {&x, &mask};
  launch.run(level);
  return mask;
}

/// U8 panels of the int8 codes, one scale a row.
Memory panelsOf(const Case &c) {
  int64_t panels = (c.outputs + 15) / 16, steps = (c.columns + 3) / 4;
  Memory packed(size_t(panels * (64 + steps * 64)));
  std::fill_n(packed.data(), packed.size(), uint8_t(0));
  std::vector<float> codes = c["wcodes"], scales = c["wscales"];
  for (int64_t n = 0; n < c.outputs; ++n) {
    uint8_t *panel = packed.data() + n / 16 * (64 + steps * 64);
    float scale = scales[size_t(n)] / 127.0f;
    std::memcpy(panel + n % 16 * 4, &scale, 4);
    for (int64_t k = 0; k < c.columns; ++k)
      panel[64 + k / 4 * 64 + n % 16 * 4 + k % 4] =
          uint8_t(int(codes[size_t(n * c.columns + k)]) + 128);
  }
  return packed;
}

void describe(const Case &c, Launch &launch) {
  for (auto [name, value] : std::map<std::string, int64_t>{
           {"N", c.outputs}, {"K", c.columns}, {"element", QK_U8}, {"group", c.columns},
           {"scale", QK_SCALE_F32}, {"offset", 128}, {"ldo", c.outputs},
           {"alpha", doubleBits(1.0)}})
    launch.params[name] = value;
}

} // namespace

KERNEL_TEST(Outliers, ColumnsAndCodesAreThoseOfBitsandbytes) {
  std::vector<Case> cases = readCases();
  ASSERT_EQ(cases.size(), 4u);
  for (const Case &c : cases) {
    Memory mask = maskOf(c, level);
    std::vector<float> kept(size_t(c.columns), 1.0f);
    for (float column : c["outliers"])
      kept[size_t(column)] = 0;
    EXPECT_EQ(mask.copy<float>(), kept);
    int64_t Kp = (c.columns + 63) / 64 * 64;
    Memory x(c["x"]), codes(size_t(c.rows * Kp)), scales(size_t(c.rows) * 4),
        sums(size_t(c.rows) * 4);
    Launch launch("quantize_outliers", c.rows);
    launch.params = {{"K", c.columns}, {"ld", c.columns}, {"sumGroup", c.columns},
                     {"threshold", doubleBits(c.threshold)}};
    launch.buffers = {&x, &mask, &codes, &scales, &sums};
    launch.run(level);
    std::vector<int8_t> wanted = as<int8_t>(c["codes"]), found = codes.copy<int8_t>();
    for (int64_t row = 0; row < c.rows; ++row) {
      int32_t sum = 0;
      for (int64_t k = 0; k < Kp; ++k) {
        int8_t want = k < c.columns ? wanted[size_t(row * c.columns + k)] : int8_t(0);
        EXPECT_EQ(found[size_t(row * Kp + k)], want) << row << ", " << k;
        sum += want;
      }
      EXPECT_EQ(scales.as<float>()[row], c["scales"][size_t(row)] / 127.0f);
      EXPECT_EQ(sums.as<int32_t>()[row], sum);
    }
  }
}

KERNEL_TEST(Outliers, ProductsAreThoseOfBitsandbytes) {
  for (const Case &c : readCases()) {
    Memory mask = maskOf(c, level), x(c["x"]), weights = panelsOf(c);
    int64_t Kp = (c.columns + 63) / 64 * 64;
    Memory codes(size_t(c.rows * Kp)), scales(size_t(c.rows) * 4), sums(size_t(c.rows) * 4),
        out(size_t(c.rows * c.outputs) * 4);
    Launch quantize("quantize_outliers", c.rows);
    quantize.params = {{"K", c.columns}, {"ld", c.columns}, {"sumGroup", c.columns},
                       {"threshold", doubleBits(c.threshold)}};
    quantize.buffers = {&x, &mask, &codes, &scales, &sums};
    quantize.run(level);
    Launch linear("linear_q8", c.rows);
    describe(c, linear);
    linear.params["actGroup"] = linear.params["sumGroup"] = c.columns;
    linear.buffers = {&codes, &scales, &sums, &out, nullptr};
    linear.weights = {&weights, nullptr};
    linear.run(level);
    Launch rest("linear_outliers", c.rows);
    describe(c, rest);
    rest.params["ldi"] = c.columns;
    rest.buffers = {&x, &mask, &out};
    rest.weights = {&weights};
    rest.run(level);
    std::vector<float> y = c["y"];
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_NEAR(out.as<float>()[i], y[i], 0.004 * (1 + std::fabs(y[i]))) << i;
  }
}

KERNEL_TEST(Outliers, PartsAddUpToWhatIsRead) {
  for (const Case &c : readCases()) {
    Memory mask = maskOf(c, level), x(c["x"]);
    Memory parts[2] = {Memory(x.size()), Memory(x.size())};
    for (int64_t kind : {0, 1}) {
      Launch launch("split_outliers", c.rows);
      launch.params = {{"K", c.columns}, {"kind", kind}, {"threshold", doubleBits(c.threshold)}};
      launch.buffers = {&x, &mask, &parts[kind]};
      launch.run(level);
    }
    std::vector<float> codes = c["codes"], scales = c["scales"], values = c["x"];
    for (size_t i = 0; i < values.size(); ++i) {
      bool isKept = mask.as<float>()[i % size_t(c.columns)] == 1.0f;
      float scale = scales[i / size_t(c.columns)] / 127.0f;
      EXPECT_EQ(parts[0].as<float>()[i], codes[i] * scale);
      EXPECT_EQ(parts[1].as<float>()[i], isKept ? 0.0f : values[i]);
    }
  }
}
