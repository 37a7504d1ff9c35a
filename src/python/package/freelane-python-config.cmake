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
# The project needs the language C, also if its own files are in C++: project(geometry LANGUAGES C CXX). Freelane's files
# are left out of unity builds in the folder that has the find_package. The module's own files get the same definitions and the hidden visibility, which
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
    # CMake would leave the files out without a word.
    get_property(_freelane_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
    if(_freelane_files AND NOT "C" IN_LIST _freelane_languages)
        set(freelane-python_FOUND FALSE)
        set(freelane-python_NOT_FOUND_MESSAGE
            "Freelane's files are in C, so the project needs that language, too: project(... LANGUAGES C CXX)")
        return()
    endif()
    unset(_freelane_languages)
    set_source_files_properties(${_freelane_files} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
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
