/* SPDX-License-Identifier: MIT
 *
 * Backends that the program `memory` alone has: Freelane on a heap of its own, with options that its name says.
 */
#ifndef FREELANE_BENCH_HEAPS_H
#define FREELANE_BENCH_HEAPS_H

#include "common/backends.h"

#include <cstdio>
#include <cstdlib>

namespace bench
{

struct Ordinary {
    static constexpr enum fl_grace kGrace = FL_GRACE_NONE;
    static constexpr size_t kRetain = 0;
    static constexpr bool kDecayThread = false;
};
struct KeepsAll : Ordinary {
    static constexpr const char *kName = "freelane-keep"; /* nothing goes back before the trim */
    static constexpr size_t kRetain = SIZE_MAX;
};
struct DefersQsbr : Ordinary {
    static constexpr const char *kName = "freelane-qsbr"; /* all frees deferred */
    static constexpr enum fl_grace kGrace = FL_GRACE_QSBR;
};
struct DefersBp : Ordinary {
    static constexpr const char *kName = "freelane-bp"; /* likewise */
    static constexpr enum fl_grace kGrace = FL_GRACE_BP;
};
struct DecaysInSilence : Ordinary {
    static constexpr const char *kName = "freelane-thread"; /* a thread of the library returns what is not used */
    static constexpr bool kDecayThread = true;
};

template <class Kind> class FreelaneHeap
{
  public:
    static const char *name()
    {
        return Kind::kName;
    }
    static void purge()
    {
        if (Kind::kGrace != FL_GRACE_NONE)
            fl_heap_barrier(heap());
        fl_heap_trim(heap(), 0);
    }
    static void background()
    {
    }
    static struct fl_heap *heap()
    {
        static struct fl_heap *const made = [] {
            struct fl_options options = {};
            options.grace = Kind::kGrace;
            options.retain_bytes = Kind::kRetain;
            options.decay_thread = Kind::kDecayThread;
            return fl_heap_create(&options, nullptr, 0);
        }();
        return made;
    }

    FreelaneHeap() : thread_(fl_thread_attach(heap()))
    {
        if (!thread_) {
            std::perror("fl_thread_attach");
            std::abort();
        }
    }
    ~FreelaneHeap()
    {
        fl_thread_detach(thread_);
    }
    FreelaneHeap(const FreelaneHeap &) = delete;
    FreelaneHeap &operator=(const FreelaneHeap &) = delete;

    void *alloc(size_t size, void *)
    {
        return fl_alloc(thread_, size);
    }
    void free(void *block, size_t size)
    {
        if (Kind::kGrace == FL_GRACE_NONE) {
            fl_free_sized(thread_, block, size);
            return;
        }
        fl_free_deferred(thread_, block, size);
        if (++deferred_ % kBetween == 0)
            fl_quiescent(thread_);
    }

  private:
    static constexpr unsigned kBetween = 1000;

    struct fl_thread *const thread_;
    unsigned deferred_ = 0;
};

} // namespace bench

#endif
