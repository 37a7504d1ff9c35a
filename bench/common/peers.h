/* SPDX-License-Identifier: MIT
 *
 * The allocators that Freelane is measured against, in one process: each is loaded with dlopen and called through
 * pointers to its malloc and free, as a program that links it calls them.
 */
#ifndef FREELANE_BENCH_PEERS_H
#define FREELANE_BENCH_PEERS_H

#include <cstddef>
#include <string>

namespace bench
{

/* Those of this release of Debian must be there. The newer ones, of bench/common/get-peers, may be missing: then
 * fl_bench says so, and no floor counts as measured. */
enum PeerId {
    kGlibc,
    kMimalloc,
    kJemalloc,
    kTcmalloc,
    kMimallocNew,
    kJemallocNew,
    kTcmallocNew,
    kFreelaneCall,
    kPeerCount
};

struct Peer {
    const char *name;
    const char *library; /* NULL: in this program already; without a path: the loader finds it */
    const char *source;  /* what installs it */
    void *(*malloc)(size_t size);
    void (*free)(void *block);
    void (*purge)();       /* gives what the calling thread and the allocator hold free back to the system */
    void (*thread_done)(); /* what a thread does to be rid of its cache before it goes on without allocating */
    void (*background)();  /* starts a thread that returns memory in silence, where the allocator has one */
    std::string version;
};

extern Peer peers[kPeerCount];

/* jemalloc's thread-local state is larger than what the loader sets aside for dlopen: this sets the tunable that
 * asks for more and executes the program again. Returns if the tunable is set already. */
void execute_with_static_tls(char **argv);

/* Loads one peer. False, with a message that says what installs it, if it is not there. */
bool load_peer(PeerId id, std::string *error);

/* Whether this peer may be missing. */
bool is_new(PeerId id);

/* Whether this is a build with ThreadSanitizer. */
extern const bool kThreadSanitizer;

/* Whether the build's sanitizer can watch memory that this peer manages: ThreadSanitizer sees no order in what
 * an uninstrumented allocator does when it passes a block from one thread to another. */
bool peer_fits_build(PeerId id);

/* PyObject_Malloc and PyObject_Free of Debian's libpython3.11. */
struct PythonAllocator {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
};

bool load_python(PythonAllocator *python, std::string *error);

} // namespace bench

#endif
