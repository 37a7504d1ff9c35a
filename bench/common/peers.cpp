/* SPDX-License-Identifier: MIT */
#include "common/peers.h"

#include "common/freelane_call.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_THREAD__)
#define BENCH_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BENCH_THREAD_SANITIZER 1
#endif
#endif
#ifndef BENCH_THREAD_SANITIZER
#define BENCH_THREAD_SANITIZER 0
#endif

/* LeakSanitizer's, in builds that have it. */
extern "C" {
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));
}

namespace bench
{

namespace
{

constexpr const char *kStaticTls = "glibc.rtld.optional_static_tls=";

using Mallctl = int (*)(const char *name, void *old_value, size_t *old_size, void *new_value, size_t new_size);

void nothing()
{
}

void glibc_purge()
{
    malloc_trim(0);
}

/* What one library of mimalloc has beside malloc and free. */
template <PeerId Id> struct Mimalloc {
    static inline void (*collect)(bool force);
    static inline int (*version)();

    static void purge()
    {
        collect(true);
    }
};

template <PeerId Id> struct Jemalloc {
    static inline Mallctl control;

    static void thread_done()
    {
        control("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
    }
    static void purge()
    {
        thread_done();
        control("arena.4096.purge", nullptr, nullptr, nullptr, 0); /* 4096 stands for all arenas */
    }
    static void background()
    {
        bool on = true;
        control("background_thread", nullptr, nullptr, &on, sizeof on);
    }
};

template <PeerId Id> struct Tcmalloc {
    static inline void (*release)();
    static inline void (*thread_idle)();
    static inline const char *(*version)(int *major, int *minor, const char **patch);

    static void thread_done()
    {
        thread_idle();
    }
    static void purge()
    {
        thread_idle();
        release();
    }
};

template <class Function> bool find(void *library, const char *name, Function *function, std::string *error)
{
    *function = reinterpret_cast<Function>(dlsym(library, name));
    if (*function)
        return true;
    const char *why = dlerror();
    *error = why ? why : name;
    return false;
}

/* 209 is 2.0.9, and 30600 is 3.6.0. */
std::string mimalloc_version(int version)
{
    int base = version < 10000 ? 10 : 100;
    return std::to_string(version / base / base) + "." + std::to_string(version / base % base) + "." +
           std::to_string(version % base);
}

template <PeerId Id> bool find_mimalloc(void *library, std::string *error)
{
    using Library = Mimalloc<Id>;
    if (!find(library, "mi_collect", &Library::collect, error) ||
        !find(library, "mi_version", &Library::version, error))
        return false;
    peers[Id].version = mimalloc_version(Library::version());
    return true;
}

template <PeerId Id> bool find_jemalloc(void *library, std::string *error)
{
    using Library = Jemalloc<Id>;
    if (!find(library, "mallctl", &Library::control, error))
        return false;
    const char *version = "";
    size_t size = sizeof version;
    Library::control("version", &version, &size, nullptr, 0);
    peers[Id].version = version;
    return true;
}

template <PeerId Id> bool find_tcmalloc(void *library, std::string *error)
{
    using Library = Tcmalloc<Id>;
    if (!find(library, "MallocExtension_ReleaseFreeMemory", &Library::release, error) ||
        !find(library, "MallocExtension_MarkThreadIdle", &Library::thread_idle, error) ||
        !find(library, "tc_version", &Library::version, error))
        return false;
    peers[Id].version = Library::version(nullptr, nullptr, nullptr);
    return true;
}

bool find_extras(PeerId id, void *library, std::string *error)
{
    switch (id) {
    case kMimalloc:
        return find_mimalloc<kMimalloc>(library, error);
    case kMimallocNew:
        return find_mimalloc<kMimallocNew>(library, error);
    case kJemalloc:
        return find_jemalloc<kJemalloc>(library, error);
    case kJemallocNew:
        return find_jemalloc<kJemallocNew>(library, error);
    case kTcmalloc:
        return find_tcmalloc<kTcmalloc>(library, error);
    case kTcmallocNew:
        return find_tcmalloc<kTcmallocNew>(library, error);
    default:
        return true;
    }
}

/* Where the file of a library is: bench/common/get-peers says where it keeps the new ones. */
std::string path_of(PeerId id)
{
    if (!is_new(id))
        return peers[id].library;
    auto variable = [](const char *name) { return std::string(std::getenv(name) ? std::getenv(name) : ""); };
    std::string cache = variable("FREELANE_CACHE"), home = variable("HOME");
    if (cache.empty() && !variable("XDG_CACHE_HOME").empty())
        cache = variable("XDG_CACHE_HOME") + "/freelane";
    if (cache.empty())
        cache = (home.empty() ? "/var/tmp" : home) + "/.cache/freelane";
    return cache + "/" + peers[id].library;
}

void *open_library(const std::string &library, const char *source, std::string *error)
{
    /* What a library allocates for itself when it is loaded is no leak of ours. */
    if (__lsan_disable)
        __lsan_disable();
    void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (__lsan_enable)
        __lsan_enable();
    if (!handle)
        *error = std::string(dlerror()) + "\nInstall it: " + source;
    return handle;
}

} // namespace

const bool kThreadSanitizer = BENCH_THREAD_SANITIZER;

Peer peers[kPeerCount] = {
    {"glibc", nullptr, nullptr, malloc, free, glibc_purge, nothing, nothing, gnu_get_libc_version()},
    {"mimalloc", "libmimalloc.so.2", "apt-get install libmimalloc2.0", nullptr, nullptr, Mimalloc<kMimalloc>::purge,
     nothing, nothing, ""},
    {"jemalloc", "libjemalloc.so.2", "apt-get install libjemalloc2", nullptr, nullptr, Jemalloc<kJemalloc>::purge,
     Jemalloc<kJemalloc>::thread_done, Jemalloc<kJemalloc>::background, ""},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "apt-get install libtcmalloc-minimal4", nullptr, nullptr,
     Tcmalloc<kTcmalloc>::purge, Tcmalloc<kTcmalloc>::thread_done, nothing, ""},
    {"mimalloc-new", "peers/mimalloc.so", "bench/common/get-peers", nullptr, nullptr, Mimalloc<kMimallocNew>::purge,
     nothing, nothing, ""},
    {"jemalloc-new", "peers/jemalloc.so", "bench/common/get-peers", nullptr, nullptr, Jemalloc<kJemallocNew>::purge,
     Jemalloc<kJemallocNew>::thread_done, Jemalloc<kJemallocNew>::background, ""},
    {"tcmalloc-new", "peers/tcmalloc.so", "bench/common/get-peers", nullptr, nullptr, Tcmalloc<kTcmallocNew>::purge,
     Tcmalloc<kTcmallocNew>::thread_done, nothing, ""},
    {"freelane-call", nullptr, nullptr, freelane_call_malloc, freelane_call_free, freelane_call_purge,
     freelane_call_thread_done, nothing, ""},
};

void execute_with_static_tls(char **argv)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    if (tunables && strstr(tunables, kStaticTls))
        return;
    std::string value = std::string(kStaticTls) + "16384";
    if (tunables && *tunables)
        value = std::string(tunables) + ":" + value;
    setenv("GLIBC_TUNABLES", value.c_str(), 1);
    execv("/proc/self/exe", argv);
    std::perror("execute again with GLIBC_TUNABLES");
    std::exit(1);
}

bool load_peer(PeerId id, std::string *error)
{
    Peer &peer = peers[id];
    if (!peer.library || peer.malloc)
        return true;
    void *library = open_library(path_of(id), peer.source, error);
    if (!library || !find_extras(id, library, error))
        return false;
    return find(library, "free", &peer.free, error) && find(library, "malloc", &peer.malloc, error);
}

bool is_new(PeerId id)
{
    return id == kMimallocNew || id == kJemallocNew || id == kTcmallocNew;
}

bool peer_fits_build(PeerId id)
{
    return !kThreadSanitizer || !peers[id].library;
}

bool load_python(PythonAllocator *python, std::string *error)
{
    void *library = open_library("libpython3.11.so.1.0", "apt-get install libpython3.11", error);
    return library && find(library, "PyObject_Malloc", &python->malloc, error) &&
           find(library, "PyObject_Free", &python->free, error);
}

} // namespace bench
