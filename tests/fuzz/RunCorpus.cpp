//===- RunCorpus.cpp - feed files to a fuzz target --------------*- C++ -*-===//
//
// The main of a fuzz target where libFuzzer is not linked: every argument that is a
// file is one input, every folder stands for the files below it, and options
// (-runs=0, ...) are accepted and ignored, so that both builds take one command
// line. A crash is the failure; the target's own checks abort.
//
//===----------------------------------------------------------------------===//
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace fs = std::filesystem;

/// The regular files that `argument` names, sorted: a crash is found at one place.
static std::vector<fs::path> inputsBelow(const fs::path &argument) {
  std::vector<fs::path> files;
  if (fs::is_directory(argument)) {
    for (const fs::directory_entry &entry : fs::recursive_directory_iterator(argument))
      if (entry.is_regular_file())
        files.push_back(entry.path());
  } else if (fs::is_regular_file(argument)) {
    files.push_back(argument);
  }
  std::sort(files.begin(), files.end());
  return files;
}

int main(int argc, char **argv) {
  size_t inputs = 0;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-')
      continue;
    for (const fs::path &file : inputsBelow(argv[i])) {
      std::fprintf(stderr, "running %s\n", file.c_str());
      std::ifstream stream(file, std::ios::binary);
      std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), {});
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
      ++inputs;
    }
  }
  if (inputs == 0) {
    std::fprintf(stderr, "no input: name a corpus folder or files that exist\n");
    return 1;
  }
  std::printf("%zu inputs done\n", inputs);
  return 0;
}
