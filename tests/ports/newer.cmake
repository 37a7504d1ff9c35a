# SPDX-License-Identifier: MIT
#
# The toolchain file of the preset newer: this machine's gcc with the C library and liburcu of Debian 13. What it makes
# runs with the dynamic linker of that C library, and finds all libraries from there on (an rpath, not a runpath).
include(${CMAKE_CURRENT_LIST_DIR}/port.cmake)

freelane_port_folder(newer)
file(GLOB loader ${folder}/usr/lib/*/ld-linux*.so.*)
cmake_path(GET loader PARENT_PATH libraries)
freelane_port_packages("${folder}" ${libraries}/pkgconfig)
set(CMAKE_C_COMPILER gcc)
set(CMAKE_SYSROOT ${folder})
# gcc looks in the system's own folder before that of the sysroot, unless it is told of this one.
set(before "-B${libraries} -L${libraries}")
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "${before} -Wl,--dynamic-linker=${loader} -Wl,--disable-new-dtags -Wl,-rpath=${libraries}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT ${before})
set(CMAKE_MODULE_LINKER_FLAGS_INIT ${before})
