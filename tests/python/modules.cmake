# SPDX-License-Identifier: MIT
#
# Extension modules for each interpreter of FREELANE_PYTHON, whose tags are in ${tags}.

get_property(tags GLOBAL PROPERTY FREELANE_PYTHON_TAGS)
set(freelane_python_modules ${PROJECT_BINARY_DIR}/tests/python)

# An extension module, built as ${freelane_python_modules}/<tag>/<name><suffix>.
function(freelane_python_module name)
    foreach(tag IN LISTS tags)
        get_property(suffix GLOBAL PROPERTY FREELANE_PYTHON_SUFFIX_${tag})
        add_library(${name}_${tag} MODULE ${ARGN})
        set_target_properties(${name}_${tag} PROPERTIES
            PREFIX "" OUTPUT_NAME ${name} SUFFIX ${suffix}
            LIBRARY_OUTPUT_DIRECTORY ${freelane_python_modules}/${tag}
            C_VISIBILITY_PRESET hidden)
        target_link_libraries(${name}_${tag} PRIVATE freelane_${tag})
    endforeach()
endfunction()
