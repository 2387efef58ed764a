# LLVM and MLIR 22 from Debian. Debian exports LLVM_LINK_LLVM_DYLIB only, and
# find_package(MLIR 22) is refused there: ask for MLIR, then check the version.

set(MLIR_DIR /usr/lib/llvm-22/lib/cmake/mlir CACHE PATH "Folder of MLIRConfig.cmake")
find_package(MLIR REQUIRED CONFIG)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "qplan needs LLVM/MLIR 22, found ${LLVM_VERSION}; `tools/dev setup` installs it")
endif()
set(LLVM_LINK_LLVM_DYLIB ON)
set(MLIR_LINK_MLIR_DYLIB ON)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB QUIET)

# What links against the shared libraries of LLVM and MLIR.
add_library(qplan_llvm INTERFACE)
target_include_directories(qplan_llvm SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(qplan_llvm INTERFACE ${LLVM_DEFINITIONS_LIST})
target_link_libraries(qplan_llvm INTERFACE LLVM fmt::fmt)
add_library(qplan_mlir INTERFACE)
target_link_libraries(qplan_mlir INTERFACE qplan_llvm MLIR)

# mlir_tablegen takes its search path from the folder's include directories.
include_directories(SYSTEM ${MLIR_INCLUDE_DIRS})
include_directories(${PROJECT_SOURCE_DIR})
# Installed programs find LLVM's libraries where the package put them.
list(APPEND CMAKE_INSTALL_RPATH ${LLVM_LIBRARY_DIR})
