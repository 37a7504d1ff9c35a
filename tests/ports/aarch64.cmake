# SPDX-License-Identifier: MIT
#
# The toolchain file of the preset aarch64: Debian's cross compiler, and qemu-user to run what it makes.
include(${CMAKE_CURRENT_LIST_DIR}/port.cmake)

freelane_port_folder(aarch64)
freelane_port_packages("${folder}" ${folder}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
