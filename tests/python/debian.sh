# SPDX-License-Identifier: MIT
#
# Sourced by get-python and get-tools, which take from other suites of Debian what this machine's release does not have.
# The caller defines fail <message> and logged <name> <command...>.
#
# The mirror is the one that the machine's own apt sources name. What comes from it is verified with the keyring of
# the Debian archive. Configuration, lists and cache of apt are private ones below a scratch folder; those of the
# system are read and never changed.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The first mirror of Debian in the system's apt sources, security updates apart; or nothing.
debian_mirror() {
    local targets
    targets="$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null)" || return 0
    awk '$2 == "Debian" && $3 == "Debian" && !seen++ { print $1 }' <<<"$targets"
}

# From here on apt-get works in the scratch folder $1 on the suite $2, of which it knows the kind of index $3: deb or
# deb-src.
debian_enter() {
    local scratch="$1" suite="$2" type="$3" uri
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
APT::Sandbox::User "$(id -un)";
END
    } >"$scratch/apt.conf"
    export APT_CONFIG="$scratch/apt.conf"
    logged update apt-get update
}
