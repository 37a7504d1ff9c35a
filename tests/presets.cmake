# SPDX-License-Identifier: MIT
#
# Read by ctest: freelane_preset(<preset>) adds the tests of build/<preset>, each under the name
# <preset>/<name> and with the preset as a label, so that several presets are one run with one summary. Further arguments
# are further labels.

# Calls a command with arguments that may hold semicolons or be empty.
macro(forward command)
    cmake_language(EVAL CODE "${command}(${forwarded})")
endmacro()

function(add_test name)
    set(forwarded "[==[${preset}/${name}]==]")
    math(EXPR last "${ARGC} - 1")
    foreach(i RANGE 1 ${last})
        string(APPEND forwarded " [==[${ARGV${i}}]==]")
    endforeach()
    forward(_add_test)
endfunction()

# Properties come as pairs; DEPENDS names tests too, labels gain the preset, fixtures are the preset's own.
function(set_tests_properties name)
    set(forwarded "[==[${preset}/${name}]==] PROPERTIES")
    set(labels ${preset} ${more_labels})
    math(EXPR last "${ARGC} - 1")
    foreach(i RANGE 2 ${last} 2)
        math(EXPR j "${i} + 1")
        set(value "${ARGV${j}}")
        if(ARGV${i} STREQUAL "LABELS")
            list(APPEND labels ${value})
            continue()
        elseif(ARGV${i} MATCHES "^(DEPENDS|FIXTURES_.*)$")
            list(TRANSFORM value PREPEND "${preset}/")
        endif()
        string(APPEND forwarded " [==[${ARGV${i}}]==] [==[${value}]==]")
    endforeach()
    string(APPEND forwarded " LABELS [==[${labels}]==]")
    forward(_set_tests_properties)
endfunction()

macro(freelane_preset name)
    set(preset ${name})
    set(more_labels ${ARGN})
    subdirs("../${name}")
endmacro()
