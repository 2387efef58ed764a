#!/usr/bin/env bash
# Builds the peers that bench/compare_llama.py measures beside qplan, and the GGUF
# files both sides read. llama.cpp is the copy inside the llama-cpp-python source
# package of PyPI, so that a pinned version needs no git access; its C++ compiler
# is the system's default (set CC and CXX to choose another), tuned to this CPU as
# its users build it (GGML_NATIVE). Each step is skipped where its result exists.
#
#   bench/peers.sh [--jobs N]
#
# Environment: QPLAN_PEERS   folder of the build        (default out/peers)
#              QPLAN_SMOLLM2 folder of the GGUF files   (default out/smollm2)
#              QPLAN_PYTHON  a Python 3 that has pip    (default python3)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
peers=${QPLAN_PEERS:-$root/out/peers}
models=${QPLAN_SMOLLM2:-$root/out/smollm2}
python=${QPLAN_PYTHON:-python3}
version=0.3.36
jobs=$(nproc)
case ${1-} in
  --jobs) jobs=${2:?--jobs needs a number} ;;
  "") ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0"; [[ $1 == --help ]]; exit ;;
esac

fetch_source() {
  source_dir=$peers/llama_cpp_python-$version/vendor/llama.cpp
  [[ -f $source_dir/CMakeLists.txt ]] && return
  mkdir -p "$peers/sdist"
  echo "peers: downloading llama-cpp-python $version"
  "$python" -m pip download --quiet --no-binary llama-cpp-python --no-deps -d "$peers/sdist" \
    "llama-cpp-python==$version"
  tar -xzf "$peers/sdist/llama_cpp_python-$version.tar.gz" -C "$peers"
}

build_llama() {
  local build=$peers/build
  if [[ ! -f $build/build.ninja ]]; then
    cmake -S "$source_dir" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF \
      -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
      -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$peers/configure.log" 2>&1 ||
      { tail -n 20 "$peers/configure.log" >&2; echo "peers: configure failed" >&2; exit 1; }
  fi
  echo "peers: building llama-bench and llama-quantize with $jobs jobs"
  ninja -C "$build" -j "$jobs" llama-bench llama-quantize
}

# requantize TYPE: writes the GGUF of that type, aside first so that no half file stays.
requantize() {
  local out=$models/SmolLM2-135M-Instruct.$1.gguf
  [[ -f $out ]] && return
  "$peers/build/bin/llama-quantize" --allow-requantize "$source_gguf" "$out.part" "$1" \
    >"$peers/quantize-$1.log" 2>&1 || { tail -n 5 "$peers/quantize-$1.log" >&2; exit 1; }
  mv "$out.part" "$out"
  echo "peers: wrote $out"
}

mkdir -p "$peers" "$models"
fetch_source
build_llama
source_gguf=$models/SmolLM2-135M-Instruct.Q4_1.gguf
[[ -f $source_gguf ]] || QPLAN_SMOLLM2=$models "$root/tools/dev" fetch-smollm2
for type in F16 Q8_0 Q4_0; do requantize "$type"; done
