# SPDX-License-Identifier: MIT
#
# Sourced by tests/run: the interpreters that a preset tests with, each looked for once, and what was left out and why.
#
#     python_choice   all, free or none, as of --python
#     python_build    yes or no: whether get-python may build one
#     python_log      the file where get-python leaves what it says while it builds
#
# The caller has set -o pipefail.

python_finder=tests/python/get-python
declare -A python_path=() python_missing=() # by kind: the interpreter, or why there is none

# The kinds of interpreters for the preset $1.
python_kinds() {
    case "$python_choice/$1" in
    none/*) ;;
    all/release) echo nogil nogil-3.14 nogil-3.15 gil gil-3.14 gil-3.15 ;;
    */release | */debug | */asan) echo nogil ;;
    all/tsan) echo tsan ;;
    esac
}

# What get-python is asked for a kind.
python_options() {
    case "$1" in
    nogil) ;;
    nogil-3.14) echo --version=3.14 ;;
    nogil-3.15) echo --version=3.15 ;;
    gil-3.14) echo --version=3.14 --gil ;;
    gil-3.15) echo --version=3.15 --gil ;;
    *) echo "--$1" ;;
    esac
}

# Has the interpreter of the kind $1 looked for, or built: ${python_path[$1]} names it or ${python_missing[$1]} says why not.
python_require() {
    local kind="$1" options
    [ -z "${python_path[$kind]-}${python_missing[$kind]-}" ] || return 0
    options=($(python_options "$kind"))
    if python_path[$kind]="$("$python_finder" "${options[@]}" --no-build)"; then
        :
    elif [ "$python_build" = no ]; then
        python_missing[$kind]="not there yet, and not built for a selection of tests; $python_finder ${options[*]} does"
    elif "$python_finder" "${options[@]}" 2>&1 >"$python_log.path" | tee "$python_log" >&2; then
        python_path[$kind]="$(cat "$python_log.path")"
    else
        python_missing[$kind]="$python_finder: $(tail -n 1 "$python_log")"
    fi
}

# Says which interpreters the presets named will have built, and how long that takes.
python_plan() {
    local preset kind
    [ "$python_build" = yes ] || return 0
    for kind in $(for preset in "$@"; do python_kinds "$preset"; done | tr ' ' '\n' | sort -u); do
        "$python_finder" $(python_options "$kind") --no-build >/dev/null ||
            echo "Builds the interpreter ($kind): 5 minutes, once a machine."
    done
}

# Sets ${pythons[@]} to the interpreters for the preset $1, each once.
python_list() {
    local kind path
    pythons=()
    for kind in $(python_kinds "$1"); do
        python_require "$kind"
        path="${python_path[$kind]}"
        [ -n "$path" ] || continue
        [[ " ${pythons[*]} " == *" $path "* ]] || pythons+=("$path")
    done
}

# What the tests with the label python left out.
python_report() {
    local kind
    for kind in "${!python_missing[@]}"; do
        echo "Left out: the python tests on the interpreter ($kind): ${python_missing[$kind]}"
    done | sort
    case "$python_choice" in
    none) echo "Left out: all python tests, by --python=none" ;;
    free) echo "Left out: the python tests on all interpreters but the first, by --python=free" ;;
    esac
}
