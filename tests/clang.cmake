# SPDX-License-Identifier: MIT
#
# The toolchain file of the preset tsan: the newest clang here that can link a C++ program with ThreadSanitizer. A build
# folder keeps the compiler that was found first, and -DCMAKE_C_COMPILER and -DCMAKE_CXX_COMPILER name another one.

if(CMAKE_C_COMPILER)
    return()
endif()

# Sets `versions` to a list of <version>=<path>, the newest first.
function(find_clangs)
    string(REPLACE ":" ";" folders "$ENV{PATH}")
    list(TRANSFORM folders APPEND "/clang*")
    file(GLOB compilers ${folders})
    list(FILTER compilers INCLUDE REGEX "/clang(-[0-9]+)?$")
    foreach(compiler IN LISTS compilers)
        execute_process(COMMAND ${compiler} -dumpversion OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
        list(APPEND versions ${version}=${compiler})
    endforeach()
    list(SORT versions COMPARE NATURAL ORDER DESCENDING)
    set(versions ${versions} PARENT_SCOPE)
endfunction()

function(try_sanitizer result compiler)
    set(program ${CMAKE_BINARY_DIR}/CMakeFiles/sanitizer)
    file(WRITE ${program}.cpp "#include <atomic>\nint main() { return 0; }\n")
    execute_process(COMMAND ${compiler} -fsanitize=thread ${program}.cpp -o ${program} RESULT_VARIABLE status
        OUTPUT_QUIET ERROR_QUIET)
    string(COMPARE EQUAL "${status}" 0 good)
    set(${result} ${good} PARENT_SCOPE)
endfunction()

find_clangs()
foreach(clang IN LISTS versions)
    string(REGEX REPLACE "^[^=]*=" "" clang ${clang})
    string(REGEX REPLACE "clang(-[0-9]+)?$" "clang++\\1" clangxx ${clang})
    try_sanitizer(good ${clangxx})
    if(good)
        set(CMAKE_C_COMPILER ${clang})
        set(CMAKE_CXX_COMPILER ${clangxx})
        return()
    endif()
endforeach()
message(FATAL_ERROR "The preset tsan needs a clang with ThreadSanitizer (clang and libclang-rt-dev)")
