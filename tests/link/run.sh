#!/bin/sh
# Compiles a checkpoint into two plans and links them into C and C++ programs, as a user
# of the installed library would.
#
#   run.sh QPLAN BUILD_DIR [WORK_DIR]
#
# QPLAN is the program, BUILD_DIR holds lib/libqplan_rt.{a,so}. From the environment:
# CC, CXX, NM, CMAKE, and SANITIZE (flags that the library was built with).
set -eu
if [ $# -lt 2 ]; then
  echo "usage: run.sh QPLAN BUILD_DIR [WORK_DIR]" >&2
  exit 2
fi
qplan=$(realpath "$1")
build=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
checkpoint=$root/tests/Inputs/models/tiny
cc=${CC:-clang-22} cxx=${CXX:-clang++-22} nm=${NM:-llvm-nm-22} cmake=${CMAKE:-cmake}
sanitize=${SANITIZE:-}
if [ $# -ge 3 ]; then
  work=$3
  rm -rf "$work"
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
cd "$work"

step() { echo "== $*"; }

step "two plans"
"$qplan" compile "$checkpoint" -o first.qplan --quant f32 --name first
"$qplan" compile "$checkpoint" -o second.qplan --quant int8 --name second

step "symbols of model.o"
for name in first second; do
  defined=$("$nm" --defined-only --extern-only --format=just-symbols $name.qplan/model.o | sort)
  for symbol in $defined; do
    case $symbol in
      ${name}_*) ;;
      *) echo "$name.qplan/model.o defines '$symbol', expected names that begin with ${name}_" >&2
         exit 1 ;;
    esac
  done
  for symbol in $("$nm" --undefined-only --format=just-symbols $name.qplan/model.o); do
    case $symbol in
      memcpy | memset | _GLOBAL_OFFSET_TABLE_) ;;
      *) echo "$name.qplan/model.o needs '$symbol', expected memcpy and memset only" >&2
         exit 1 ;;
    esac
  done
done
exported=$("$nm" -D --defined-only --format=just-symbols first.qplan/model.so)
if [ "$exported" != qplan_model_query ]; then
  echo "first.qplan/model.so exports '$exported', expected qplan_model_query only" >&2
  exit 1
fi

c="$cc -std=c11 -D_POSIX_C_SOURCE=200809L"
cpp="$cxx -std=c++17"
strict="-Wall -Wextra -Wno-missing-field-initializers -Werror -pedantic -I$root/runtime/include -I."
static="$build/lib/libqplan_rt.a -lstdc++ -lm -lpthread -ldl"
shared="-L$build/lib -lqplan_rt -Wl,-rpath,$build/lib -lpthread"

step "programs"
header='-DMODEL_HEADER="first.qplan/model.h"'
headers='-DFIRST_HEADER="first.qplan/model.h" -DSECOND_HEADER="second.qplan/model.h"'
$c $strict $sanitize $header "$here/client.c" first.qplan/model.o $static -o client_static
$c $strict $sanitize $header "$here/client.c" first.qplan/model.o $shared -o client_shared
$cpp $strict $sanitize "$here/client.cpp" $static -o client_cpp
$c $strict $sanitize $headers "$here/two_models.c" first.qplan/model.o second.qplan/model.o \
  $static -o two_models
$c $strict $sanitize "$here/eight_threads.c" $static -o eight_threads
for name in first second; do # model.h alone, in both languages
  echo "#include \"$name.qplan/model.h\"" > $name.c
  $c $strict -fsyntax-only $name.c
  $cpp $strict -fsyntax-only -x c++ $name.c
done

step "runs"
./client_static first.qplan
./client_shared first.qplan
./client_cpp first.qplan
./two_models first.qplan second.qplan
./eight_threads first.qplan

if [ -n "$sanitize" ]; then
  exit 0 # a sanitized library is not for installing
fi
step "an installed library, found by CMake and by pkg-config"
"$cmake" --install "$build" --prefix "$work/prefix" --component qplan_rt > install.log
"$cmake" -S "$here/consumer" -B consumer -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$work/prefix" -DQPLAN_PROGRAM="$qplan" \
  -DCHECKPOINT="$checkpoint" -DSOURCES="$here" > configure.log
"$cmake" --build consumer > build.log || { cat build.log >&2; exit 1; }
consumer/static_client consumer/first.qplan
consumer/shared_client first.qplan
if command -v pkg-config > pkgconfig.path; then
  pc=$(find "$work/prefix" -name pkgconfig)
  flags=$(PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR= pkg-config --define-variable=prefix="$work/prefix" \
    --cflags --libs qplan)
  lib=$(dirname "$pc")
  $c "$here/eight_threads.c" $flags "-Wl,-rpath,$lib" -lpthread -o pkgconfig_client
  ./pkgconfig_client first.qplan
fi
echo "link: done"
