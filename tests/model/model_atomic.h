/* SPDX-License-Identifier: MIT
 *
 * The atomic operations of src/base/atomic.h for the model check: every shared word is a Relacy atomic, which keeps the
 * whole history of the word and lets a load return any value that the C11 memory model allows. src/base/atomic.h
 * includes this file in its own place when FREELANE_MODEL is defined.
 */
#ifndef FLI_MODEL_ATOMIC_H
#define FLI_MODEL_ATOMIC_H

/* What the library's headers include must come before Relacy, which takes the names of the C library's functions. */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../orders/weaken.h"

#include <freelane/freelane.h>

#include <relacy/relacy.hpp>

#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#define errno (*__errno_location())

#undef memory_order_relaxed
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#define memory_order_relaxed          rl::mo_relaxed
#define memory_order_acquire          rl::mo_acquire
#define memory_order_release          rl::mo_release
#define memory_order_acq_rel          rl::mo_acq_rel
#define memory_order_seq_cst          rl::mo_seq_cst

#define FLI_MODEL_ORDER(order, which) (rl::memory_order) WEAKEN(order, which)

#if defined(FREELANE_MODEL_LOCKS)
#define FLI_ATOMIC(T) fli_model_global<T>
#else
#define FLI_ATOMIC(T) fli_model_atomic<T>
#endif
#define FLI_PLAIN(T)                 fli_model_plain<T>

#define fli_load_relaxed(p)          fli_model_made(p)->load(rl::mo_relaxed, $)
#define fli_load_acquire(p)          fli_model_made(p)->load(FLI_MODEL_ORDER(rl::mo_acquire, 0), $)
#define fli_load_order(p, order)     fli_model_made(p)->load(FLI_MODEL_ORDER(order, 0), $)
#define fli_store_relaxed(p, v)      fli_model_made(p)->store((v), rl::mo_relaxed, $)
#define fli_store_release(p, v)      fli_model_made(p)->store((v), FLI_MODEL_ORDER(rl::mo_release, 0), $)
#define fli_store_order(p, v, order) fli_model_made(p)->store((v), FLI_MODEL_ORDER(order, 0), $)
#define fli_add_relaxed(p, v)        fli_model_made(p)->fetch_add((v), rl::mo_relaxed, $)
#define fli_sub_relaxed(p, v)        fli_model_made(p)->fetch_sub((v), rl::mo_relaxed, $)
#define fli_or_relaxed(p, v)         fli_model_made(p)->fetch_or((v), rl::mo_relaxed, $)
#define fli_and_relaxed(p, v)        fli_model_made(p)->fetch_and((v), rl::mo_relaxed, $)
#define fli_exchange(p, v, order)    fli_model_made(p)->exchange((v), FLI_MODEL_ORDER(order, 0), $)
#define fli_cas_strong(p, expected, desired, success, failure)                                                       \
    fli_model_cas_strong(fli_model_made(p), (expected), (desired), FLI_MODEL_ORDER(success, 0),                      \
                         FLI_MODEL_ORDER(failure, 1), $)
#define fli_cas_weak(p, expected, desired, success, failure)                                                         \
    fli_model_cas_weak(fli_model_made(p), (expected), (desired), FLI_MODEL_ORDER(success, 0),                        \
                       FLI_MODEL_ORDER(failure, 1), $)

#define fli_or(p, v, order)         fli_model_made(p)->fetch_or((uint32_t)(v), FLI_MODEL_ORDER(order, 0), $)
#define fli_and(p, v, order)        fli_model_made(p)->fetch_and((uint32_t)(v), FLI_MODEL_ORDER(order, 0), $)
#define fli_add_public(p, v, order) fli_model_made(p)->fetch_add((uint32_t)(v), FLI_MODEL_ORDER(order, 0), $)
#define fli_or_public(p, v, order)  fli_or((p), (v), (order))
#define fli_cas_public(p, expected, desired, success, failure)                                                       \
    fli_cas_weak((p), (expected), (uint32_t)(desired), (success), (failure))

/* The words that public headers share: those of an object. Its type is constant here. */
#define FL_SHARED_WORD(T) fli_model_atomic<T>
#undef __ATOMIC_RELAXED
#undef __ATOMIC_ACQUIRE
#define __ATOMIC_RELAXED              rl::mo_relaxed
#define __ATOMIC_ACQUIRE              rl::mo_acquire
#define __atomic_load_n(p, order)     fli_model_load_public((p), FLI_MODEL_ORDER(order, 0), $)
#define __atomic_store_n(p, v, order) fli_model_store_public((p), (v), FLI_MODEL_ORDER(order, 0), $)

/* A shared word. Its memory is zeroed when it is made, by plain writes: who uses the word has to be ordered after. */
template <typename T> class fli_model_atomic : public rl::generic_atomic<T, true>
{
  public:
    fli_model_atomic()
    {
        made($).store(true);
    }
    void assert_made() const
    {
        made($).load();
    }
    void end()
    {
        made($).store(false);
    }

  private:
    rl::var<bool> made;
};

/* Relacy knows no pointer to what is constant. */
template <typename T> class fli_model_atomic<const T *> : public fli_model_atomic<T *>
{
  public:
    void store(const T *value, rl::memory_order order, rl::debug_info_param info)
    {
        fli_model_atomic<T *>::store(const_cast<T *>(value), order, info);
    }
};

/* The words of this execution, and what unmakes each of them. */
struct fli_model_words {
    struct {
        void *shared;
        void (*unmake)(void *shared);
    } words[1024];
    unsigned count;
    unsigned long execution;
    bool makes; /* an object is made, with its words */
};
extern fli_model_words fli_model_globals;

/* Before fli_model_global is used in an execution, and after. */
inline void fli_model_begin()
{
    fli_model_globals.execution++;
    fli_model_globals.count = 0; /* an execution with an error does not end */
    fli_model_globals.makes = false;
}

inline void fli_model_end()
{
    while (fli_model_globals.count > 0) {
        fli_model_globals.count--;
        const auto &word = fli_model_globals.words[fli_model_globals.count];
        word.unmake(word.shared);
    }
}

/* What the bytes of an object are that has ended. */
enum { FLI_MODEL_ENDED = 0xdd };

/* Ends an object, with its words. */
inline void fli_model_end_object(void *object, size_t bytes)
{
    char *first = static_cast<char *>(object);
    if (object == nullptr)
        return;
    for (unsigned i = fli_model_globals.count; i-- > 0;) {
        auto word = fli_model_globals.words[i];
        if (word.shared < first || word.shared >= first + bytes)
            continue;
        fli_model_globals.words[i] = fli_model_globals.words[--fli_model_globals.count];
        word.unmake(word.shared);
    }
    memset(object, FLI_MODEL_ENDED, bytes);
}

template <typename word> word *fli_model_made(word *shared)
{
    shared->assert_made();
    return shared;
}

/* Makes a word, which is zero; and ends one: who has used it has to be ordered before. */
template <typename T> void fli_model_make_word(fli_model_atomic<T> *word)
{
    word->store(T(), rl::mo_relaxed, $);
}

template <typename T> void fli_model_end_word(fli_model_atomic<T> *word)
{
    word->end();
}

template <typename T> void fli_model_make_word(rl::var<T> *word)
{
    (*word)($).store(T());
}

template <typename T> void fli_model_end_word(rl::var<T> *word)
{
    (*word)($).store(T());
}

/* A word that a file, a scenario or an object has. Relacy knows it for one execution: it is made with its object
 * (fli_model_object), or when it is first used. Once its object has ended, nobody may use it. */
template <typename word> struct fli_model_lazy {
    alignas(word) char memory[sizeof(word)];
    unsigned long execution;

    fli_model_lazy() : execution(0)
    {
        if (fli_model_globals.makes)
            made();
    }

    static void unmake(void *shared)
    {
        word *self = static_cast<fli_model_lazy *>(shared)->at();
        fli_model_end_word(self);
        self->~word();
    }

    word *at()
    {
        return reinterpret_cast<word *>(memory);
    }

    word *made()
    {
        if (execution != fli_model_globals.execution) {
            unsigned long ended;
            memset(&ended, FLI_MODEL_ENDED, sizeof ended);
            RL_ASSERT(execution != ended);
            RL_VERIFY(fli_model_globals.count < sizeof fli_model_globals.words / sizeof *fli_model_globals.words);
            execution = fli_model_globals.execution;
            fli_model_make_word(::new (memory) word());
            fli_model_globals.words[fli_model_globals.count++] = {this, unmake};
        }
        return at();
    }
};

template <typename T> struct fli_model_global : fli_model_lazy<fli_model_atomic<T>> {
    fli_model_global(int = 0)
    {
    }
};

template <typename T> fli_model_atomic<T> *fli_model_made(const fli_model_global<T> *shared)
{
    return fli_model_made(const_cast<fli_model_global<T> *>(shared)->made());
}

template <typename T> fli_model_atomic<T> *fli_model_made(fli_model_global<T> *shared)
{
    return fli_model_made(shared->made());
}

template <typename T>
T fli_model_load_public(const fli_model_atomic<T> *word, rl::memory_order order, rl::debug_info_param info)
{
    return fli_model_made(word)->load(order, info);
}

template <typename T> T fli_model_load_public(const T *word, rl::memory_order, rl::debug_info_param)
{
    return *word;
}

template <typename T, typename value>
void fli_model_store_public(fli_model_atomic<T> *word, value desired, rl::memory_order order,
                            rl::debug_info_param info)
{
    fli_model_made(word)->store((T)desired, order, info);
}

template <typename T, typename value>
void fli_model_store_public(T *word, value desired, rl::memory_order, rl::debug_info_param)
{
    *word = (T)desired;
}

template <typename T, typename value>
bool fli_model_cas_strong(fli_model_atomic<T> *word, T *expected, value desired, rl::memory_order success,
                          rl::memory_order failure, rl::debug_info_param info)
{
    return fli_model_made(word)->compare_exchange_strong(*expected, (T)desired, success, info, failure, info);
}

/* Relacy knows the rule of C++11 alone, by which failure may not acquire unless success does, and drops what breaks
 * it. Such a failure is a relaxed one here, after which the word is loaded again: that gives at least the same
 * outcomes. */
template <typename T>
bool fli_model_cas_weak(fli_model_atomic<T> *word, T *expected, T desired, rl::memory_order success,
                        rl::memory_order failure, rl::debug_info_param info)
{
    bool known = failure == rl::mo_relaxed || success == rl::mo_acquire || success == rl::mo_acq_rel;
    if (fli_model_made(word)->compare_exchange_weak(*expected, desired, success, info,
                                                    known ? failure : rl::mo_relaxed, info))
        return true;
    if (!known)
        *expected = word->load(failure, info);
    return false;
}

/* Classes 1 and 2 are all that there are: each takes states where all classes are walked. */
#undef FL_CLASS_COUNT
#define FL_CLASS_COUNT 3

/* Slots of a magazine, whose first words take more room here: as many as fill it. */
enum { FLI_MAGAZINE_SLOTS = 223 };

/* A counter that one thread at a time writes. */
#define fli_count(p, v) fli_model_count((p), (v), $)

/* Those of 64 bits are what a thread did to the pool. Nothing depends on their values: left out, they cost no states. */
inline void fli_model_count(fli_model_atomic<uint64_t> *, uint64_t, rl::debug_info_param)
{
}

inline void fli_model_count(fli_model_atomic<uint32_t> *word, uint32_t change, rl::debug_info_param info)
{
    word->store(word->load(rl::mo_relaxed, info) + change, rl::mo_relaxed, info);
}

template <typename T, typename value>
void fli_model_count(fli_model_global<T> *word, value change, rl::debug_info_param info)
{
    fli_model_count(fli_model_made(word), (T)change, info);
}

/* Where a plain word is. */
template <typename T> struct fli_model_place {
    rl::var<T> word;

    fli_model_place()
    {
        fli_model_make_word(&word);
    }
    rl::var<T> *made()
    {
        return &word;
    }
};

#if defined(FREELANE_MODEL_LOCKS)
#define FLI_MODEL_PLACE(T) fli_model_lazy<rl::var<T>>
#else
#define FLI_MODEL_PLACE(T) fli_model_place<T>
#endif

/* A plain word that a lock guards: an access that the lock does not order is a data race. Its memory was zeroed. */
template <typename T> class fli_model_plain
{
  public:
    operator T() const
    {
        return (*place.made())($).load();
    }
    T operator->() const
    {
        return *this;
    }
    fli_model_plain &operator=(T value)
    {
        (*place.made())($).store(value);
        return *this;
    }
    fli_model_plain &operator=(const fli_model_plain &other)
    {
        return *this = T(other);
    }
    T operator++(int)
    {
        T value = *this;
        *this = (T)(value + 1);
        return value;
    }
    T operator--(int)
    {
        T value = *this;
        *this = (T)(value - 1);
        return value;
    }
    fli_model_plain &operator+=(T value)
    {
        return *this = (T)(T(*this) + value);
    }
    fli_model_plain &operator-=(T value)
    {
        return *this = (T)(T(*this) - value);
    }

  private:
    mutable FLI_MODEL_PLACE(T) place;
};

/* The memory of a home, which the scenario has laid out. The object is made when the memory is zeroed. */
struct fli_model_memory {
    void *at;
    template <typename T> operator T *() const
    {
        return static_cast<T *>(at);
    }
};

fli_model_memory fli_model_aligned_alloc(size_t grain, size_t bytes);

/* Zeroed memory that a scenario has, for an object that is made with its words. */
struct fli_model_object {
    void *at;
    template <typename T> operator T *() const
    {
        fli_model_globals.makes = true;
        T *object = ::new (at) T();
        fli_model_globals.makes = false;
        return object;
    }
};

fli_model_object fli_model_calloc(size_t bytes);

/* Has `end` called when an OS thread of the scenario exits that has set a value, and sets that of the calling one. */
int fli_model_key_create(void (*end)(void *value));
int fli_model_setspecific(void *value);

/* Lets other threads run. */
void fli_model_sleep(const struct timespec *time);

/* What lock.c asks of futex(2). A thread waits for nothing, which it may do instead of waiting until it is woken. It
 * yields only where it waits without an end, because after that Relacy shows it no value that it has seen before. */
template <typename word>
void fli_model_futex(long, word *, int, uint32_t, const struct timespec *until, void *, unsigned)
{
    if (until == nullptr)
        rl::yield(1, $);
}

template <typename word> void fli_model_futex(long, word *, int, int, void *, void *, int)
{
}

/* The same name is that of gettid(2): no scenario looks at the number. */
inline long fli_model_futex(long)
{
    return 0;
}

/* The calling thread, from 1. */
inline uintptr_t fli_model_self()
{
    return rl::ctx().threadx_->index_ + 1;
}

template <typename T> void fli_model_zero(T *object)
{
    ::new (object) T();
}

template <typename T> void fli_model_free(T *object)
{
    object->~T();
#if defined(FREELANE_MODEL_LOCKS)
    fli_model_end_object(object, sizeof *object);
#endif
}

/* In the C sources (FREELANE_MODEL_SOURCE): a name that is a word of C++, and those of the functions above. */
#if defined(FREELANE_MODEL_SOURCE)
#define class class_
#define aligned_alloc(grain, bytes) fli_model_aligned_alloc((grain), (bytes))
#define memset(object, zero, bytes) fli_model_zero(object)
#define free(object)                fli_model_free(object)
#define nanosleep(time, left)       fli_model_sleep(time)
#define syscall(...)                fli_model_futex(__VA_ARGS__)
#endif
#if defined(FREELANE_MODEL_LOCKS)
#define pthread_self() fli_model_self()
#endif

/* OS threads that exit, and what they obtain (FREELANE_MODEL_OS_THREADS). */
#if defined(FREELANE_MODEL_SOURCE) && defined(FREELANE_MODEL_OS_THREADS)
#define calloc(count, bytes)            fli_model_calloc(bytes)
#define pthread_key_create(key, end)    fli_model_key_create(end)
#define pthread_setspecific(key, value) fli_model_setspecific(value)
#endif

/* In the sources of some mutants, locks lock nothing. */
#if defined(FREELANE_MODEL_NO_LOCKS)
#undef pthread_mutex_lock
#undef pthread_mutex_try_lock
#undef pthread_mutex_unlock
#define pthread_mutex_lock(mutex)     ((void)(mutex))
#define pthread_mutex_try_lock(mutex) ((void)(mutex), 0)
#define pthread_mutex_unlock(mutex)   ((void)(mutex))
#endif

#endif
