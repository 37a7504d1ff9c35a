# SPDX-License-Identifier: MIT
#
# What the toolchain files of this folder share. CMake reads them again for each of its tests of the compiler.

# Sets `folder` to that of the port's libraries, which the script get may have to fetch or build first.
macro(freelane_port_folder port)
    execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/get ${port} OUTPUT_VARIABLE folder RESULT_VARIABLE status
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "tests/ports/get ${port} failed: ${status}")
    endif()
endmacro()

# pkg-config finds what lies below the folders given, and nothing of this system.
macro(freelane_port_packages root folders)
    set(ENV{PKG_CONFIG_LIBDIR} ${folders})
    set(ENV{PKG_CONFIG_SYSROOT_DIR} "${root}")
endmacro()
