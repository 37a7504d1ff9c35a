# SPDX-License-Identifier: MIT
#
# The toolchain file of the preset musl: gcc's wrapper for the C library musl, whose programs run on this machine.
include(${CMAKE_CURRENT_LIST_DIR}/port.cmake)

freelane_port_folder(musl)
freelane_port_packages("" ${folder}/lib/pkgconfig)
set(CMAKE_C_COMPILER musl-gcc)
