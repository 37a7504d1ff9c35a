/* SPDX-License-Identifier: MIT */
#include "snapshot.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORES = 4096, MOST_SNAPSHOTS = 1 << 22 };

/* A store of the work, or of a look at a snapshot. */
struct store {
    uint64_t before, after;
    uintptr_t address;
    unsigned size;
    bool releases, is_pending;
};

static struct store stores[STORES];
static unsigned count, work_stores;
static __thread bool logs;
static bool is_taken[STORES];
static unsigned long snapshots;

void snapshot_fail(const char *file, int line, const char *truth)
{
    printf("%s:%d: not in snapshot %lu: %s\n", file, line, snapshots, truth);
    for (unsigned i = 0; i < work_stores; i++)
        printf("  %c %#lx: %#lx -> %#lx%s\n", is_taken[i] ? '+' : '-', (unsigned long)stores[i].address,
               (unsigned long)stores[i].before, (unsigned long)stores[i].after,
               stores[i].releases ? " releases" : "");
    exit(1);
}

static uint64_t read_bytes(uintptr_t address, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)address, size);
    return value;
}

static void write_bytes(const struct store *store, uint64_t value)
{
    memcpy((void *)store->address, &value, store->size);
}

/* The sanitizer tells of a plain store before it happens: the value is read at the next event. */
static void settle(void)
{
    struct store *last = count > 0 ? &stores[count - 1] : NULL;
    if (last == NULL || !last->is_pending)
        return;
    last->after = read_bytes(last->address, last->size);
    last->is_pending = false;
}

static void note(const volatile void *address, unsigned size, bool is_pending, bool releases, uint64_t after)
{
    if (!logs)
        return;
    settle();
    if (count == STORES)
        snapshot_fail(__FILE__, __LINE__, "count < STORES");
    stores[count++] = (struct store){
        read_bytes((uintptr_t)address, size), after, (uintptr_t)address, size, releases, is_pending};
}

static bool overlap(const struct store *one, const struct store *other)
{
    return one->address < other->address + other->size && other->address < one->address + one->size;
}

/* Undoes the stores from number `from` on. */
static void undo(unsigned from)
{
    settle();
    while (count > from) {
        count--;
        write_bytes(&stores[count], stores[count].before);
    }
}

/* Lets memory be as the snapshot that has what `is_taken` says, and looks at it. */
static void look_at(void (*look)(void *context), void *context)
{
    for (unsigned i = work_stores; i-- > 0;)
        write_bytes(&stores[i], stores[i].before);
    for (unsigned i = 0; i < work_stores; i++)
        if (is_taken[i])
            write_bytes(&stores[i], stores[i].after);
    if (++snapshots > MOST_SNAPSHOTS)
        snapshot_fail(__FILE__, __LINE__, "snapshots <= MOST_SNAPSHOTS");
    logs = true;
    look(context);
    logs = false;
    undo(work_stores);
}

/* Whether a store may come although earlier ones that are left out have not: none is to the same bytes. */
static bool may_come(unsigned store)
{
    for (unsigned i = 0; i < store; i++)
        if (!is_taken[i] && overlap(&stores[i], &stores[store]))
            return false;
    return true;
}

/* Leaves the stores from `next` on in or out in every way in which none of them that releases is in. */
static void choose(unsigned next, void (*look)(void *context), void *context)
{
    if (next == work_stores) {
        look_at(look, context);
        return;
    }
    is_taken[next] = false;
    choose(next + 1, look, context);
    if (!stores[next].releases && may_come(next)) {
        is_taken[next] = true;
        choose(next + 1, look, context);
        is_taken[next] = false;
    }
}

unsigned long snapshot_each(void (*work)(void *context), void (*look)(void *context), void *context)
{
    snapshots = 0;
    count = 0;
    logs = true;
    work(context);
    logs = false;
    settle();
    work_stores = count;
    /* The last one in the snapshot that releases: all before are in. At first there is none. */
    for (unsigned last = 0; last <= work_stores; last++) {
        if (last > 0 && !stores[last - 1].releases)
            continue;
        for (unsigned i = 0; i < work_stores; i++)
            is_taken[i] = i < last;
        choose(last, look, context);
    }
    for (unsigned i = 0; i < work_stores; i++)
        write_bytes(&stores[i], stores[i].after);
    return snapshots;
}

/* ---- What the sanitizer's compiler calls. */

#define IGNORED(name) void name(void *unused)
#define IGNORE(name)                                                                                                 \
    IGNORED(name);                                                                                                   \
    IGNORED(name)                                                                                                    \
    {                                                                                                                \
        (void)unused;                                                                                                \
    }

IGNORE(__tsan_init)
IGNORE(__tsan_func_entry)
IGNORE(__tsan_func_exit)
IGNORE(__tsan_acquire)
IGNORE(__tsan_release)

#define PLAIN(size)                                                                                                  \
    IGNORE(__tsan_read##size)                                                                                        \
    IGNORE(__tsan_unaligned_read##size)                                                                              \
    void __tsan_write##size(void *address);                                                                          \
    void __tsan_write##size(void *address)                                                                           \
    {                                                                                                                \
        note(address, size, true, false, 0);                                                                         \
    }                                                                                                                \
    void __tsan_unaligned_write##size(void *address);                                                                \
    void __tsan_unaligned_write##size(void *address)                                                                 \
    {                                                                                                                \
        note(address, size, true, false, 0);                                                                         \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)

/* Two words at once are two stores. */
IGNORE(__tsan_read16)
IGNORE(__tsan_unaligned_read16)
void __tsan_write16(char *address);
void __tsan_write16(char *address)
{
    snapshot_fail(__FILE__, __LINE__, "no store has 16 bytes");
    (void)address;
}

static bool releases(int order)
{
    return order >= __ATOMIC_RELEASE;
}

#define FETCH(bits, name, expression)                                                                                \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *address, uint##bits##_t value, int order);  \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *address, uint##bits##_t value, int order)   \
    {                                                                                                                \
        uint##bits##_t old = *address, new = (uint##bits##_t)(expression);                                           \
        note(address, bits / 8, false, releases(order), new);                                                        \
        *address = new;                                                                                              \
        return old;                                                                                                  \
    }

#define ATOMIC(bits)                                                                                                 \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order);                    \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order)                     \
    {                                                                                                                \
        (void)order;                                                                                                 \
        return *address;                                                                                             \
    }                                                                                                                \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *address, uint##bits##_t value, int order);             \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *address, uint##bits##_t value, int order)              \
    {                                                                                                                \
        note(address, bits / 8, false, releases(order), value);                                                      \
        *address = value;                                                                                            \
    }                                                                                                                \
    FETCH(bits, exchange, value)                                                                                     \
    FETCH(bits, fetch_add, old + value)                                                                              \
    FETCH(bits, fetch_sub, old - value)                                                                              \
    FETCH(bits, fetch_or, old | value)                                                                               \
    FETCH(bits, fetch_and, old &value)                                                                               \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                                       \
        volatile uint##bits##_t *address, uint##bits##_t expected, uint##bits##_t value, int order, int failure);    \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                                       \
        volatile uint##bits##_t *address, uint##bits##_t expected, uint##bits##_t value, int order, int failure)     \
    {                                                                                                                \
        uint##bits##_t old = *address;                                                                               \
        (void)failure;                                                                                               \
        if (old == expected) {                                                                                       \
            note(address, bits / 8, false, releases(order), value);                                                  \
            *address = value;                                                                                        \
        }                                                                                                            \
        return old;                                                                                                  \
    }

ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)
