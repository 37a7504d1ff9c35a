# SPDX-License-Identifier: MIT
"""The allocators that take malloc's place in a program that is measured, by LD_PRELOAD."""

import os
import subprocess
import sys
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))

# jemalloc's thread-local state is larger than what the loader sets aside for dlopen.
FOR_DLOPEN = {**os.environ, "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=16384"}


@dataclass
class Peer:
    library: str = ""  # preloaded; nothing for that of the C library
    package: str = ""
    newest: str = ""  # its file in the folder of bench/common/get-peers
    unless: str = ""  # left out where this one is


PEERS = {
    "glibc": Peer(),
    "mimalloc": Peer("libmimalloc.so.2", "libmimalloc2.0"),
    "mimalloc-new": Peer(newest="mimalloc.so"),
    "jemalloc": Peer("libjemalloc.so.2", "libjemalloc2", unless="jemalloc-new"),
    "jemalloc-new": Peer(newest="jemalloc.so"),
    "tcmalloc": Peer("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", unless="tcmalloc-new"),
    "tcmalloc-new": Peer(newest="tcmalloc.so"),
}


def peers_folder():
    """Where bench/common/get-peers has put the newer allocators; nothing where it has not."""
    script = os.path.join(HERE, "get-peers")
    if not os.access(script, os.X_OK):
        return ""
    done = subprocess.run([script, "--no-build"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def loadable(library):
    """Whether the loader finds a library of that name."""
    check = f"import ctypes; ctypes.CDLL({library!r})"
    return subprocess.run([sys.executable, "-c", check], capture_output=True, env=FOR_DLOPEN).returncode == 0


def find_peers():
    """{name: what to preload} of the peers that are here."""
    folder = peers_folder()
    found = {"glibc": ""}
    for name, peer in PEERS.items():
        newest = os.path.join(folder, peer.newest)
        if peer.newest and folder and os.path.exists(newest):
            found[name] = newest
        elif peer.library and loadable(peer.library):
            found[name] = peer.library
        elif peer.package:
            print(f"{name} is missing: apt-get install {peer.package}", file=sys.stderr)
    return {name: library for name, library in found.items() if PEERS[name].unless not in found}


# In a process of its own: what it prints is the version that the library argv[1] says it has.
VERSION = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
if hasattr(library, "mi_version"):
    version = library.mi_version()
    base = 10 if version < 10000 else 100
    print(version // base // base, version // base % base, version % base, sep=".")
elif hasattr(library, "mallctl"):
    text, size = ctypes.c_char_p(), ctypes.c_size_t(8)
    library.mallctl(b"version", ctypes.byref(text), ctypes.byref(size), None, 0)
    print(text.value.decode().split("-")[0])
else:
    library.tc_version.restype = ctypes.c_char_p
    print(library.tc_version(None, None, None).decode().split()[-1])
"""


def version_of(library):
    command = [sys.executable, "-c", VERSION, library]
    done = subprocess.run(command, capture_output=True, text=True, env=FOR_DLOPEN)
    return done.stdout.strip() or "unknown"
