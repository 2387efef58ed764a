# The lit suite of qplan: one folder for each layer of the source, and tests/lint for
# rules about the tree itself. Tests call tools by name: ours come from the build tree,
# FileCheck, not and split-file from LLVM. Substitutions:
#   %inputs   tests/Inputs            %source   root of the source tree
#   %python   a Python 3              %cc, %cxx the compilers of the build
#   %llvm     LLVM's installation
# Features: x86_64 or aarch64 (the machine), asan (a sanitized build).
import os
import platform

import lit.formats

config.name = "qplan"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test", ".ll"]
config.excludes = ["Inputs", "unit", "fuzz", "link", "formats"]
config.test_source_root = os.path.join(config.qplan_source, "tests")
config.test_exec_root = os.path.join(config.qplan_build, "tests", "lit")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.qplan_build, "bin"), config.llvm_tools, os.environ.get("PATH", "")]
)
for name in ("CCACHE_DIR", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
if config.sanitize:
    # LLVM's own start-up allocations live to the end of the process.
    config.environment.setdefault("ASAN_OPTIONS", "detect_leaks=0")
    config.available_features.add("asan")
config.available_features.add(platform.machine().lower())

config.substitutions += [
    ("%build", config.qplan_build),
    ("%inputs", os.path.join(config.qplan_source, "tests", "Inputs")),
    ("%source", config.qplan_source),
    ("%python", config.python),
    ("%llvm", os.path.dirname(config.llvm_tools)),
    ("%cxx", config.cxx_compiler),
    ("%cc", config.c_compiler),
]
