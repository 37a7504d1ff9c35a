# SPDX-License-Identifier: MIT
#
# Sourced by tests/run, bench/run and the scripts that get interpreters, tools, peers and clients.

# Where they keep what they got or built, for all checkouts of a user.
freelane_cache() {
    echo "${FREELANE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/freelane}"
}

# Sees to it that the Debian packages named are installed: as root it installs those that are missing,
# otherwise it prints the line that does and exits.
freelane_require_packages() {
    local package missing=()
    if ! command -v dpkg-query apt-get >/dev/null; then
        echo "This is no Debian: needed here are $*." >&2
        return 0
    fi
    for package in "$@"; do
        case "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null)" in
        ?i*) ;;
        *) missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    if [ "$(id -u)" -ne 0 ]; then
        echo "Packages are missing. To install them:" >&2
        echo "sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "== installing: ${missing[*]}"
    local apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" update -qq </dev/null || echo "apt-get update failed; going on with the lists there are" >&2
    if ! (
        set -o pipefail
        "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" </dev/null | sed -n 's/^Setting up /   /p'
    ); then
        echo "apt-get could not install: ${missing[*]}" >&2
        exit 1
    fi
}
