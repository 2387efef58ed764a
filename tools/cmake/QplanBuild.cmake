# Flags that every target of ours shares, and small helpers.

add_compile_options(-Wall -Wextra -Wno-unused-parameter)
if(QPLAN_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(QPLAN_ENABLE_FUZZERS)
  # Coverage counters in every library; only the targets of tests/fuzz link libFuzzer's main.
  if(NOT QPLAN_SANITIZE)
    message(FATAL_ERROR "QPLAN_ENABLE_FUZZERS needs QPLAN_SANITIZE; use `cmake --preset asan`")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()

# qplan_add_library(NAME sources... LINK libs...): a static library of ours whose
# headers are included from the root of the tree ("ir/Formats.h").
function(qplan_add_library name)
  cmake_parse_arguments(ARG "" "" "LINK;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}
                                            ${PROJECT_SOURCE_DIR}/runtime/include)
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# qplan_registry(FILE MACRO names...): writes one MACRO(name) call a line, so that
# no list of registered things is kept by hand and no static initialiser is needed.
function(qplan_registry file macro)
  set(text "// One line for each registered thing; written by CMake.\n")
  foreach(name ${ARGN})
    string(APPEND text "${macro}(${name})\n")
  endforeach()
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${file} CONTENT "${text}")
endfunction()
