# SPDX-License-Identifier: MIT
#
# find_package(freelane-python) defines the target freelane::python. An extension module that links with it compiles
# Freelane into itself:
#
#     find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
#     find_package(freelane-python REQUIRED)
#     python_add_library(geometry MODULE WITH_SOABI geometry.c)
#     target_link_libraries(geometry PRIVATE freelane::python)
#
# The project needs the language C. The module's own files get the same definitions and the hidden visibility, which
# keeps the copies of several extensions apart.

include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)

if(NOT TARGET freelane::python)
    get_filename_component(_freelane "${CMAKE_CURRENT_LIST_DIR}/../../../carried" ABSOLUTE)
    file(STRINGS "${_freelane}/src/python/sources.txt" _freelane_files REGEX "\\.c$")
    list(TRANSFORM _freelane_files PREPEND "${_freelane}/")
    if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR CMAKE_SIZEOF_VOID_P EQUAL 4)
        set(_freelane_files "") # there freelane/python.h falls back, and needs no file
    endif()
    add_library(freelane::python INTERFACE IMPORTED)
    set_target_properties(freelane::python PROPERTIES
        INTERFACE_SOURCES "${_freelane_files}"
        INTERFACE_INCLUDE_DIRECTORIES "${_freelane}/include;${_freelane}/src"
        INTERFACE_COMPILE_DEFINITIONS FREELANE_STATIC
        INTERFACE_COMPILE_OPTIONS "$<$<NOT:$<C_COMPILER_ID:MSVC>>:-fvisibility=hidden>"
        INTERFACE_LINK_LIBRARIES Threads::Threads)
    unset(_freelane)
    unset(_freelane_files)
endif()
