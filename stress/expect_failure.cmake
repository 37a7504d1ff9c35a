# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=... -DARGUMENTS=... -DRUNS=N -DPATTERN=... -P expect_failure.cmake
#
# Runs a program N times. Each run has to fail and to print something that matches the pattern.

foreach(run RANGE 1 ${RUNS})
    execute_process(COMMAND ${PROGRAM} ${ARGUMENTS} RESULT_VARIABLE result OUTPUT_VARIABLE output
                    ERROR_VARIABLE output)
    if(result EQUAL 0 OR NOT output MATCHES "${PATTERN}")
        message(FATAL_ERROR "run ${run} of ${RUNS} was to fail with \"${PATTERN}\"; its result is ${result}:\n${output}")
    endif()
    message(STATUS "run ${run}: ${CMAKE_MATCH_0}")
endforeach()
