# qplan_add_model(NAME MODEL checkpoint [OPTIONS args...] [DEPENDS files...])
#
# Compiles a checkpoint while the project builds and makes a target NAME to link with:
# model.o, its header (#include "NAME.qplan/model.h"), and qplan::rt. The model's symbols
# begin with NAME; the plan lies in ${CMAKE_CURRENT_BINARY_DIR}/NAME.qplan and its path is
# defined for C as NAME_PLAN. OPTIONS go to `qplan compile` as they are. The program is the
# one installed beside this package, unless QPLAN_PROGRAM names another.
#
#   qplan_add_model(story MODEL ${CMAKE_SOURCE_DIR}/tiny OPTIONS --quant int8)
#   target_link_libraries(program PRIVATE story)
function(qplan_add_model name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "MODEL" "OPTIONS;DEPENDS")
  if(NOT ARG_MODEL)
    message(FATAL_ERROR "qplan_add_model(${name}): MODEL is missing; name a checkpoint")
  endif()
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "qplan_add_model(${name}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT name MATCHES "^[A-Za-z_][A-Za-z0-9_]*$")
    message(FATAL_ERROR "qplan_add_model(${name}): the name must be a C identifier")
  endif()
  if(QPLAN_PROGRAM)
    set(compiler ${QPLAN_PROGRAM})
  elseif(TARGET qplan::qplan)
    set(compiler qplan::qplan)
  elseif(TARGET qplan)
    set(compiler qplan)
  else()
    message(FATAL_ERROR "qplan_add_model(${name}): the program qplan is not installed beside "
                        "this package; install it there, or set QPLAN_PROGRAM to its path")
  endif()
  get_filename_component(checkpoint "${ARG_MODEL}" ABSOLUTE)
  set(plan ${CMAKE_CURRENT_BINARY_DIR}/${name}.qplan)
  set(inputs ${ARG_DEPENDS})
  if(IS_DIRECTORY ${checkpoint})
    file(GLOB files CONFIGURE_DEPENDS ${checkpoint}/*.json ${checkpoint}/*.safetensors)
    list(APPEND inputs ${files})
  else()
    list(APPEND inputs ${checkpoint})
  endif()
  add_custom_command(
    OUTPUT ${plan}/manifest.json ${plan}/model.o ${plan}/model.h ${plan}/weights.bin
    COMMAND ${compiler} compile ${checkpoint} -o ${plan} --name ${name} ${ARG_OPTIONS}
    DEPENDS ${compiler} ${inputs}
    COMMENT "Compiling the model ${name}"
    VERBATIM)
  add_custom_target(${name}_plan DEPENDS ${plan}/manifest.json)
  add_library(${name} INTERFACE)
  add_dependencies(${name} ${name}_plan)
  target_sources(${name} INTERFACE ${plan}/model.o)
  set_property(SOURCE ${plan}/model.o PROPERTY EXTERNAL_OBJECT ON)
  target_include_directories(${name} INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
  target_compile_definitions(${name} INTERFACE ${name}_PLAN="${plan}")
  if(TARGET qplan::rt)
    target_link_libraries(${name} INTERFACE qplan::rt)
  else()
    target_link_libraries(${name} INTERFACE qplan_rt)
  endif()
endfunction()
