/* SPDX-License-Identifier: MIT
 *
 * The backends of the benchmarks: one class each, with the same members, so that a workload is compiled for each of
 * them. An object of the class belongs to the thread that made it.
 *
 *     freelane         fl_alloc and fl_free_sized inline; the thread handle is a local variable, and the size is a
 *                      constant where it is one in the workload
 *     glibc, mimalloc, jemalloc, tcmalloc
 *                      malloc and free through function pointers
 *     mimalloc-new, jemalloc-new, tcmalloc-new
 *                      newer versions of these, where bench/common/get-peers has fetched them
 *     freelane-call    fl_alloc and fl_free out of line behind the same function pointers; see freelane_call.h
 *     limit            a thread-local linked list per 16 bytes of size, without any check: a bound for what an
 *                      allocator can reach. Before the clock starts it gets as many blocks as the workload can need,
 *                      contiguous and in the order of their addresses
 *     none             no allocator: a slot keeps its block. It shows what the loop itself costs
 *
 * Members:
 *
 *     supply(size, n)   is called before the clock starts: up to n blocks of this size will be live at once
 *     first(size)       returns a block for an empty slot, before the clock starts
 *     alloc(size, was)  returns a block; `was` is what the slot held before, which `none` returns
 *     free(block, size)
 *     purge()           returns free memory to the OS; it is called before each run, while no backend is alive
 *     give_back()       returns what the calling thread keeps, as far as the allocator can
 *     background()      starts a thread that returns memory in silence, where the allocator has one
 */
#ifndef FREELANE_BENCH_BACKENDS_H
#define FREELANE_BENCH_BACKENDS_H

#include "common/peers.h"

#include <freelane/freelane.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace bench
{

/* Makes the compiler believe that `pointer` is used and that memory behind it changes. */
inline void keep(const void *pointer)
{
    asm volatile("" : : "r"(pointer) : "memory");
}

/* Hides from the compiler that there is only one type. */
template <class Type> const Type *opaque(const Type *type)
{
    asm volatile("" : "+r"(type));
    return type;
}

/* What every workload does to every block it allocates: writes the first 16 bytes. */
inline void touch(void *block, uint64_t stamp)
{
    uint64_t *words = static_cast<uint64_t *>(block);
    words[0] = stamp;
    words[1] = ~stamp;
    keep(block);
}

/* A pseudorandom number below `bound`, from a linear congruential generator's upper half. */
inline uint32_t random_below(uint64_t *state, uint32_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(((*state >> 32) * bound) >> 32);
}

/* The block; ends the program if there is none. */
inline void *require(void *block)
{
    if (!block)
        std::abort();
    return block;
}

class Freelane
{
  public:
    static const char *name()
    {
        return "freelane";
    }
    static bool available()
    {
        return true;
    }
    static void purge()
    {
        fl_heap_trim(fl_heap_default(), 0);
    }
    static void background()
    {
    }

    Freelane() : thread_(fl_thread_attach(fl_heap_default()))
    {
        if (!thread_) {
            std::perror("fl_thread_attach");
            std::abort();
        }
    }
    ~Freelane()
    {
        fl_thread_detach(thread_);
    }
    Freelane(const Freelane &) = delete;
    Freelane &operator=(const Freelane &) = delete;

    void supply(size_t, size_t)
    {
    }
    void *first(size_t size)
    {
        return fl_alloc(thread_, size);
    }
    void *alloc(size_t size, void *)
    {
        return fl_alloc(thread_, size);
    }
    void free(void *block, size_t size)
    {
        fl_free_sized(thread_, block, size);
    }
    void give_back()
    {
        fl_thread_flush(thread_);
    }
    struct fl_thread *thread()
    {
        return thread_;
    }

  private:
    struct fl_thread *const thread_;
};

template <PeerId Id> class Pointers
{
  public:
    static const char *name()
    {
        return peers[Id].name;
    }
    static bool available()
    {
        return peers[Id].malloc && peer_fits_build(Id);
    }
    static void purge()
    {
        peers[Id].purge();
    }
    static void background()
    {
        peers[Id].background();
    }

    Pointers() : malloc_(peers[Id].malloc), free_(peers[Id].free)
    {
    }
    ~Pointers()
    {
        peers[Id].thread_done();
    }
    Pointers(const Pointers &) = delete;
    Pointers &operator=(const Pointers &) = delete;

    void give_back()
    {
        peers[Id].thread_done();
    }
    void supply(size_t, size_t)
    {
    }
    void *first(size_t size)
    {
        return malloc_(size);
    }
    void *alloc(size_t size, void *)
    {
        return malloc_(size);
    }
    void free(void *block, size_t)
    {
        free_(block);
    }

  private:
    void *(*const malloc_)(size_t);
    void (*const free_)(void *);
};

class Limit
{
  public:
    static const char *name()
    {
        return "limit";
    }
    static constexpr size_t kLargest = 512;
    static bool available()
    {
        return true;
    }
    static void purge()
    {
    }

    Limit() = default;
    ~Limit()
    {
        for (void *&list : lists_)
            list = nullptr;
    }
    Limit(const Limit &) = delete;
    Limit &operator=(const Limit &) = delete;

    void supply(size_t size, size_t count)
    {
        size_t bytes = (size + 15) / 16 * 16;
        storage_.emplace_back(static_cast<char *>(std::aligned_alloc(4096, (bytes * count + 4095) / 4096 * 4096)));
        for (size_t i = count; i-- > 0;)
            free(storage_.back().get() + i * bytes, size);
    }
    void *first(size_t size)
    {
        return alloc(size, nullptr);
    }
    void *alloc(size_t size, void *)
    {
        void **block = static_cast<void **>(lists_[(size + 15) / 16]);
        lists_[(size + 15) / 16] = *block;
        return block;
    }
    void free(void *block, size_t size)
    {
        *static_cast<void **>(block) = lists_[(size + 15) / 16];
        lists_[(size + 15) / 16] = block;
    }

  private:
    struct Release {
        void operator()(char *memory) const
        {
            std::free(memory);
        }
    };
    static inline thread_local void *lists_[kLargest / 16 + 1];
    std::vector<std::unique_ptr<char, Release>> storage_;
};

class None
{
  public:
    static const char *name()
    {
        return "none";
    }
    static bool available()
    {
        return true;
    }
    static void purge()
    {
    }
    static void background()
    {
    }

    void give_back()
    {
    }
    void supply(size_t, size_t)
    {
    }
    void *first(size_t size)
    {
        size = (size + 15) / 16 * 16;
        if (left_ < size) {
            left_ = 1 << 20;
            chunks_.emplace_back(new char[left_]);
            next_ = chunks_.back().get();
        }
        left_ -= size;
        next_ += size;
        return next_ - size;
    }
    void *alloc(size_t, void *was)
    {
        return was;
    }
    void free(void *block, size_t)
    {
        keep(block);
    }

  private:
    std::vector<std::unique_ptr<char[]>> chunks_;
    char *next_ = nullptr;
    size_t left_ = 0;
};

/* Calls visit.template operator()<B>() for every backend that is there. */
template <class... Bs> struct Backends {
    template <class Visitor> static void visit(Visitor &&visitor)
    {
        (visit_one<Bs>(visitor), ...);
    }
    /* The same for the one of this name. Returns whether there is one. */
    template <class Visitor> static bool visit_named(const std::string &name, Visitor &&visitor)
    {
        return ((name == Bs::name() && (visit_one<Bs>(visitor), true)) || ...);
    }

  private:
    template <class B, class Visitor> static void visit_one(Visitor &visitor)
    {
        if (B::available())
            visitor.template visit<B>();
    }
};

/* SharedBackends are for blocks that cross threads: `limit` is a thread's own and stays out. */
template <class... Others>
using WithPeers =
    Backends<Freelane, Pointers<kFreelaneCall>, Pointers<kGlibc>, Pointers<kMimalloc>, Pointers<kMimallocNew>,
             Pointers<kJemalloc>, Pointers<kJemallocNew>, Pointers<kTcmalloc>, Pointers<kTcmallocNew>, Others...>;
using SharedBackends = WithPeers<None>;
using AllBackends = WithPeers<Limit, None>;

} // namespace bench

#endif
