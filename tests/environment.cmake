# SPDX-License-Identifier: MIT
#
# Read by ctest before it runs a test. What the caller has set stays.

function(default_environment name value)
    if(NOT DEFINED ENV{${name}})
        set(ENV{${name}} "${value}")
    endif()
endfunction()

default_environment(ASAN_OPTIONS "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1")
default_environment(UBSAN_OPTIONS "halt_on_error=1:print_stacktrace=1")
# die_after_fork=0: a forked child may start threads.
default_environment(TSAN_OPTIONS "halt_on_error=1:die_after_fork=0:suppressions=${CMAKE_CURRENT_LIST_DIR}/tsan.supp")
