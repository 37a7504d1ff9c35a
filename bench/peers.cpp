/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include "freelane_call.h"

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

void (*mimalloc_collect)(bool force);
int (*mimalloc_version)();
Mallctl jemalloc_control;
void (*tcmalloc_release)();
void (*tcmalloc_thread_idle)();
const char *(*tcmalloc_version)(int *major, int *minor, const char **patch);

void nothing()
{
}

void glibc_purge()
{
    malloc_trim(0);
}

void mimalloc_purge()
{
    mimalloc_collect(true);
}

void jemalloc_thread_done()
{
    jemalloc_control("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
}

void jemalloc_purge()
{
    jemalloc_thread_done();
    jemalloc_control("arena.4096.purge", nullptr, nullptr, nullptr, 0); /* 4096 stands for all arenas */
}

void tcmalloc_thread_done()
{
    tcmalloc_thread_idle();
}

void tcmalloc_purge()
{
    tcmalloc_thread_idle();
    tcmalloc_release();
}

template <class Function> bool find(void *library, const char *name, Function *function, std::string *error)
{
    *function = reinterpret_cast<Function>(dlsym(library, name));
    if (*function)
        return true;
    const char *why = dlerror();
    *error = why ? why : name;
    return false;
}

bool find_extras(PeerId id, void *library, std::string *error)
{
    Peer &peer = peers[id];
    switch (id) {
    case kMimalloc: {
        if (!find(library, "mi_collect", &mimalloc_collect, error) ||
            !find(library, "mi_version", &mimalloc_version, error))
            return false;
        int version = mimalloc_version();
        peer.version = std::to_string(version / 100) + "." + std::to_string(version / 10 % 10) + "." +
                       std::to_string(version % 10);
        return true;
    }
    case kJemalloc: {
        if (!find(library, "mallctl", &jemalloc_control, error))
            return false;
        const char *version = "";
        size_t size = sizeof version;
        jemalloc_control("version", &version, &size, nullptr, 0);
        peer.version = version;
        return true;
    }
    case kTcmalloc:
        if (!find(library, "MallocExtension_ReleaseFreeMemory", &tcmalloc_release, error) ||
            !find(library, "MallocExtension_MarkThreadIdle", &tcmalloc_thread_idle, error) ||
            !find(library, "tc_version", &tcmalloc_version, error))
            return false;
        peer.version = tcmalloc_version(nullptr, nullptr, nullptr);
        return true;
    default:
        return true;
    }
}

void *open_library(const char *library, const char *package, std::string *error)
{
    /* What a library allocates for itself when it is loaded is no leak of ours. */
    if (__lsan_disable)
        __lsan_disable();
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (__lsan_enable)
        __lsan_enable();
    if (!handle)
        *error = std::string(dlerror()) + "\nInstall it: apt-get install " + package;
    return handle;
}

} // namespace

const bool kThreadSanitizer = BENCH_THREAD_SANITIZER;

Peer peers[kPeerCount] = {
    {"glibc", nullptr, nullptr, malloc, free, glibc_purge, nothing, gnu_get_libc_version()},
    {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0", nullptr, nullptr, mimalloc_purge, nothing, ""},
    {"jemalloc", "libjemalloc.so.2", "libjemalloc2", nullptr, nullptr, jemalloc_purge, jemalloc_thread_done, ""},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", nullptr, nullptr, tcmalloc_purge,
     tcmalloc_thread_done, ""},
    {"freelane-call", nullptr, nullptr, freelane_call_malloc, freelane_call_free, freelane_call_purge,
     freelane_call_thread_done, ""},
};

void execute_with_static_tls(char **argv)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    if (tunables && strstr(tunables, kStaticTls))
        return;
    std::string value = std::string(kStaticTls) + "8192";
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
    void *library = open_library(peer.library, peer.package, error);
    if (!library || !find_extras(id, library, error))
        return false;
    return find(library, "free", &peer.free, error) && find(library, "malloc", &peer.malloc, error);
}

bool peer_fits_build(PeerId id)
{
    return !kThreadSanitizer || !peers[id].library;
}

bool load_python(PythonAllocator *python, std::string *error)
{
    void *library = open_library("libpython3.11.so.1.0", "libpython3.11", error);
    return library && find(library, "PyObject_Malloc", &python->malloc, error) &&
           find(library, "PyObject_Free", &python->free, error);
}

} // namespace bench
