# SPDX-License-Identifier: MIT
#
# Sourced by get-python, get-tools, tests/ports/get, bench/common/get-peers and bench/clients/get, which take from other
# suites of Debian, or for other processors, what this machine does not have.
# The caller defines fail <message>, logged <name> <command...> and, for debian_source, step <message>.
#
# The mirror is the one that the machine's own apt sources name. What its indexes list is verified with the keyring of
# the Debian archive, and what they list no more with that of Debian's developers. Configuration, lists and cache of
# apt are private ones below a scratch folder; those of the system are read and never changed.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The first mirror of Debian in the system's apt sources, security updates apart; or nothing.
debian_mirror() {
    local targets
    targets="$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null)" || return 0
    awk '$2 == "Debian" && $3 == "Debian" && !seen++ { print $1 }' <<<"$targets"
}

# From here on apt-get works in the scratch folder $1 on the suite $2, of which it knows the kind of index $3: deb or
# deb-src. It downloads for the architecture $4, or this machine's.
debian_enter() {
    local scratch="$1" suite="$2" type="$3" architecture="${4:-$(dpkg --print-architecture)}" uri
    uri="$(debian_mirror)"
    if [ -z "$uri" ] && [ "$(id -u)" -eq 0 ]; then
        logged lists apt-get -o DPkg::Lock::Timeout=300 update
        uri="$(debian_mirror)"
    fi
    [ -n "$uri" ] || fail "the apt sources of this machine name no mirror of Debian (or apt-get update has not run yet)"

    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    echo "$type [signed-by=$debian_keyring] $uri $suite main" >"$scratch/sources.list"
    {
        # How this machine reaches its mirrors: proxies, certificates, retries.
        apt-config dump Acquire::http Acquire::https Acquire::ftp Acquire::Check-Date Acquire::Check-Valid-Until
        cat <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$scratch/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$scratch/lists";
Dir::State::status "/dev/null";
Dir::Cache "$scratch/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "$architecture";
APT::Architectures "$architecture";
APT::Sandbox::User "$(id -un)";
END
    } >"$scratch/apt.conf"
    export APT_CONFIG="$scratch/apt.conf"
    logged update apt-get update
}

# The source package $1 as the folder source: the version that the suite's index lists or, where the mirror lacks the
# files of that one, the last before it that the mirror still has.
debian_source() {
    local package="$1" listed
    if apt-get source "$package" >source.log 2>&1; then
        mv "$package"-*/ source
        return
    fi
    listed="$(apt-get source --print-uris "$package" 2>>source.log | sed -n "s/^'\(.*\)\.dsc'.*/\1/p")"
    if [ -z "$listed" ]; then
        tail -n 40 source.log >&2
        fail "the mirror has no source package $package"
    fi
    debian_source_before "$listed"
}

# What the authors of the source package $1 released, without Debian's changes, as the folder source: the version that the
# suite's index lists, whose checksum stands there.
debian_released() {
    local package="$1"
    if ! apt-get source --download-only --tar-only "$package" >source.log 2>&1; then
        tail -n 40 source.log >&2
        fail "the mirror has no release of $package"
    fi
    mkdir source
    tar --extract --strip-components=1 --directory=source --no-same-owner --file="$(echo *.orig.tar.*)"
}

# The last patch release up to that of the address $1, <pool>/<package>_<major>.<minor>.<patch>-<revision>, which the
# pool has in one of the first revisions. A developer has signed it.
debian_source_before() {
    local series="${1%.*}" patch="${1##*.}" revision
    for ((patch = ${patch%%-*}; patch >= 0; patch--)); do
        for revision in 3 2 1; do
            if debian_fetch "$series.$patch-$revision.dsc"; then
                step "takes ${series##*/}.$patch-$revision: the mirror lacks ${1##*/}"
                (unset APT_CONFIG && freelane_require_packages debian-keyring) >&2
                debian_unpack "$series.$patch-$revision"
                return
            fi
        done
    done
    fail "the mirror lacks $1 and what came before it"
}

# Downloads the file at the address $1, by apt's own means. Returns 1 where there is none.
debian_fetch() {
    /usr/lib/apt/apt-helper download-file "$1" "${1##*/}" >>source.log 2>&1
}

# The source package at the address $1, whose .dsc is here, as the folder source. The signature of the .dsc stands
# for its checksums, and they for the other files.
debian_unpack() {
    local file
    for file in $(awk '/^Checksums-Sha256:/ { list = 1; next } /^[^ ]/ { list = 0 } list { print $3 }' "${1##*/}.dsc"); do
        debian_fetch "${1%/*}/$file" || fail "the mirror lacks $file"
    done
    logged unpack dpkg-source --require-valid-signature --require-strong-checksums -x "${1##*/}.dsc" source
}
