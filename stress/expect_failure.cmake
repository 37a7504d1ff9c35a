# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=... -DARGUMENTS=... -DRUNS=N -DTRIES=M -DPATTERN=... -P expect_failure.cmake
#
# Runs a program N times. Each time it has to fail, and what it prints, or the signal that ends it, has to match the
# pattern, if need be at one of M tries.

foreach(run RANGE 1 ${RUNS})
    foreach(try RANGE 1 ${TRIES})
        execute_process(COMMAND ${PROGRAM} ${ARGUMENTS} RESULT_VARIABLE result OUTPUT_VARIABLE output
                        ERROR_VARIABLE output)
        set(fails FALSE)
        if(NOT result EQUAL 0 AND "${output}\n${result}" MATCHES "${PATTERN}")
            set(fails TRUE)
            message(STATUS "run ${run}, try ${try}: ${CMAKE_MATCH_0}")
            break()
        endif()
    endforeach()
    if(NOT fails)
        message(FATAL_ERROR "run ${run} of ${RUNS} was to fail with \"${PATTERN}\"; its result is ${result}:\n${output}")
    endif()
endforeach()
