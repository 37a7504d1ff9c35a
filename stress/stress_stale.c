/* SPDX-License-Identifier: MIT
 *
 * Stale readers: threads hold on to pointers of objects that others free, and go on looking at them.
 *
 * Objects have the header of free-threaded CPython, and its biased reference counts:
 *
 *      0        8     10    11        12          16           24     32    40
 *     +--------+-----+-----+---------+-----------+------------+------+-----+---------
 *     | ob_tid |flags|mutex| gc_bits | ref_local | ref_shared | type | key | pattern
 *     +--------+-----+-----+---------+-----------+------------+------+-----+---------
 *
 * They lie in slots that workers replace all the time. A worker in a read-side section notes pointers that it finds
 * in slots, and looks at them again and again until the section ends. Each time, of each object,
 *
 *   - the header words are those of an object of this size, dead or alive, which never is what it was carved for later;
 *   - its class is what it was (fl_usable_size);
 *   - of an object whose end is deferred every byte is as it was, but for the words cleared;
 *   - taking a reference by try-incref succeeds or not; if it does and the slot still holds the pointer, the object
 *   lives,
 *     and its pattern checks out.
 *
 * Onlookers do nothing but read, and are attached to another heap only: a section is one for all heaps whose grace
 * periods are of its kind. Nothing orders what they read but grace periods do, so ThreadSanitizer depends on what it
 * is told of these.
 *
 * A worker that ends an object inside a section sees the header of a dead one there. Sizes from 48 bytes to large
 * blocks; types of three kinds; two heaps, one whose library clears the header and which trims all the time by
 * itself, and one whose host clears it, which keeps what it can. One size at a time ebbs: all its objects go, so that
 * its slabs are retired and serve other sizes, while one more thread trims to nothing. Faults are reported as
 * failures.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30), with --grace bp and with --grace qsbr. Soak: one hour
 * (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    HEAPS = 2,
    SIZES = 6,
    KINDS = 3,
    SLOTS = 16,
    OWNERS_MAX = 64,
    COMMON = OWNERS_MAX, /* the slots that everybody replaces */
    SIGHTINGS_MAX = 8,
    ONLOOKERS = 2,
    ONLOOKER_SIZES = 3,
    WAVE_BYTES = 192 << 10,
};

enum { SHARED_FLAGS = 3, MAYBE_WEAKREF = 1, MERGED = 3, ONE_REFERENCE = 4 };

static const size_t sizes[SIZES] = {48, 208, 1024, 8192, FL_BLOCK_MAX, FL_BLOCK_MAX + 9000};

struct object {
    _Atomic uint64_t tid;
    _Atomic uint16_t is_deferring; /* its end is deferred */
    _Atomic uint8_t mutex;
    _Atomic uint8_t gc_bits; /* GC_BITS and the number of its size */
    _Atomic uint32_t local;
    _Atomic int64_t shared;
    _Atomic(const struct fl_type *) type;
    uint64_t key;
    char pattern[];
};

enum { GC_BITS = 0x40, HEADER_BYTES = 32 };

_Static_assert(offsetof(struct object, mutex) == 10 && offsetof(struct object, gc_bits) == 11, "as in CPython");
_Static_assert(offsetof(struct object, local) == 12 && offsetof(struct object, shared) == 16, "as in CPython");
_Static_assert(offsetof(struct object, type) == 24 && offsetof(struct object, key) == HEADER_BYTES, "as in CPython");

/* One heap and what lives in it. */
struct realm {
    struct fl_heap *heap;
    struct fl_header header;
    struct fl_type types[SIZES][KINDS];
    size_t usable[SIZES];
    _Atomic(struct object *) slots[OWNERS_MAX + 1][SIZES][SLOTS];
};

/* A worker, and the main thread at the end. */
struct actor {
    uint64_t tid;
    unsigned owner; /* of which slots */
    struct stress_rng rng;
    uint64_t sequence;
    struct fl_thread *threads[HEAPS];
    unsigned tide_seen;
};

/* A pointer that a reader holds on to. */
struct sighting {
    struct realm *realm;
    _Atomic(struct object *) *slot;
    struct object *object;
    unsigned size;
    uint64_t key; /* of an object whose end is deferred, else 0 */
};

static struct stress_args args;
static struct realm realms[HEAPS];
static struct fl_heap *apart; /* where onlookers are attached */
static atomic_uint tide;      /* tide % SIZES ebbs */
static atomic_ulong looks, taken, lost, refused, ended;
static atomic_size_t trimmed;

static bool is_large(unsigned size)
{
    return sizes[size] > FL_BLOCK_MAX;
}

static void count(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- Contents ----------------------------------------------------------------------------------------------- */

static unsigned size_of(struct realm *realm, const struct fl_type *type)
{
    size_t number = (size_t)(type - &realm->types[0][0]);
    STRESS_REQUIRE(number < SIZES * KINDS);
    return (unsigned)(number / KINDS);
}

static void verify(const struct object *object, size_t bytes, uint64_t key)
{
    if (object->key != key)
        stress_fail("object %p of %zu bytes has key %#" PRIx64 ", had %#" PRIx64, (const void *)object, bytes,
                    object->key, key);
    stress_verify(object->pattern, bytes - sizeof *object, key);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread;
    verify(object, type->size, ((struct object *)object)->key);
}

static void dealloc(struct fl_thread *thread, void *memory, const struct fl_type *type)
{
    struct object *object = memory;
    clear(thread, object, type);
    if (atomic_load_explicit(&object->is_deferring, memory_order_relaxed))
        fl_type_free_deferred(thread, object, type);
    else
        fl_type_free(thread, object, type);
}

/* ---- Reference counts ------------------------------------------------------------------------------------------ */

/* Ends an object whose last reference is gone; its header has tid 0, local 0, shared MERGED. */
static void end(struct actor *actor, struct realm *realm, struct object *object)
{
    struct fl_thread *thread = actor->threads[realm - realms];
    const struct fl_type *type = atomic_load_explicit(&object->type, memory_order_relaxed);
    bool deferred = atomic_load_explicit(&object->is_deferring, memory_order_relaxed);
    count(&ended);
    if (type->kind == FL_DEALLOC_PLAIN)
        verify(object, type->size, object->key);
    if (deferred && type->kind != FL_DEALLOC_LEGACY)
        fl_dealloc_deferred(thread, object, type);
    else if (type->kind != FL_DEALLOC_PLAIN || deferred || !stress_one_in(&actor->rng, 8))
        fl_dealloc(thread, object, type);
    else if (stress_one_in(&actor->rng, 2))
        fl_free(thread, object);
    else
        fl_heap_free(realm->heap, object);
}

/* Drops a reference that is counted as shared. Returns whether it was the last. */
static bool drop_shared(struct object *object)
{
    int64_t before = atomic_fetch_sub_explicit(&object->shared, ONE_REFERENCE, memory_order_acq_rel);
    STRESS_REQUIRE(before >= ONE_REFERENCE);
    return before - ONE_REFERENCE == MERGED;
}

/* The owner has no reference left: the shared count is all there is from now on. Returns whether that is zero. */
static bool merge(struct object *object)
{
    atomic_store_explicit(&object->tid, 0, memory_order_relaxed);
    int64_t before = atomic_fetch_or_explicit(&object->shared, MERGED, memory_order_acq_rel);
    return (before | MERGED) == MERGED;
}

/* Drops a reference. Returns whether the object has ended. */
static bool drop(struct actor *actor, struct realm *realm, struct object *object)
{
    bool last;
    if (atomic_load_explicit(&object->tid, memory_order_relaxed) == actor->tid) {
        uint32_t local = atomic_load_explicit(&object->local, memory_order_relaxed);
        STRESS_REQUIRE(local > 0);
        atomic_store_explicit(&object->local, local - 1, memory_order_relaxed);
        last = local == 1 && merge(object);
    } else {
        last = drop_shared(object);
    }
    if (last)
        end(actor, realm, object);
    return last;
}

/* The object may be dead, or another one. */
static bool try_incref_fast(const struct actor *actor, struct object *object)
{
    uint32_t local = atomic_load_explicit(&object->local, memory_order_relaxed);
    STRESS_REQUIRE(local != UINT32_MAX); /* none is immortal */
    if (atomic_load_explicit(&object->tid, memory_order_relaxed) != actor->tid)
        return false;
    atomic_store_explicit(&object->local, local + 1, memory_order_relaxed);
    return true;
}

static bool try_incref_shared(struct object *object)
{
    int64_t shared = atomic_load_explicit(&object->shared, memory_order_relaxed);
    do {
        if (shared == 0 || shared == MERGED)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&object->shared, &shared, shared + ONE_REFERENCE,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return true;
}

/* ---- Objects -------------------------------------------------------------------------------------------------- */

static struct object *make(struct actor *actor, struct realm *realm, unsigned size, bool is_deferring, bool is_owned)
{
    const struct fl_type *type = &realm->types[size][stress_below(&actor->rng, KINDS)];
    struct object *object = fl_type_alloc(actor->threads[realm - realms], type);
    if (!object)
        stress_fail("out of memory for %zu bytes", sizes[size]);
    object->key = ++actor->sequence;
    stress_fill(object->pattern, sizes[size] - sizeof *object, object->key);
    atomic_store_explicit(&object->is_deferring, is_deferring, memory_order_relaxed);
    atomic_store_explicit(&object->mutex, 0, memory_order_relaxed);
    atomic_store_explicit(&object->gc_bits, GC_BITS + size, memory_order_relaxed);
    atomic_store_explicit(&object->local, is_owned, memory_order_relaxed);
    atomic_store_explicit(&object->type, type, memory_order_relaxed);
    atomic_store_explicit(&object->tid, is_owned ? actor->tid : 0, memory_order_relaxed);
    int64_t shared = is_owned ? (stress_one_in(&actor->rng, 8) ? 0 : MAYBE_WEAKREF) : ONE_REFERENCE + MERGED;
    /* From here on others may take references. */
    atomic_store_explicit(&object->shared, shared, memory_order_release);
    return object;
}

/* Whether the end of objects in a slot is deferred. */
static bool slot_defers(unsigned slot)
{
    return slot % 2 != 0;
}

static unsigned slots_of(unsigned size)
{
    return sizes[size] > 4096 ? 4 : SLOTS;
}

static struct object *exchange(struct realm *realm, unsigned owner, unsigned size, unsigned slot,
                               struct object *object)
{
    return atomic_exchange_explicit(&realm->slots[owner][size][slot], object, memory_order_acq_rel);
}

/* Empties all slots of a size that the worker may. */
static void empty(struct actor *actor, struct realm *realm, unsigned owner, unsigned size)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct object *object = exchange(realm, owner, size, slot, NULL);
        if (object)
            drop(actor, realm, object);
    }
}

/* ---- Looking ---------------------------------------------------------------------------------------------------- */

static void check_header(const struct sighting *at)
{
    struct object *object = at->object;
    uint64_t tid = atomic_load_explicit(&object->tid, memory_order_relaxed);
    uint32_t local = atomic_load_explicit(&object->local, memory_order_relaxed);
    int64_t shared = atomic_load_explicit(&object->shared, memory_order_relaxed);
    unsigned gc_bits = atomic_load_explicit(&object->gc_bits, memory_order_relaxed);
    const struct fl_type *type = atomic_load_explicit(&object->type, memory_order_relaxed);
    const struct fl_type *types = at->realm->types[at->size];
    const char *wrong = NULL;
    if (tid % 16 != 0 || tid > 16 * (OWNERS_MAX + 1))
        wrong = "ob_tid";
    else if (local > 2)
        wrong = "ob_ref_local";
    else if (shared < 0 || (shared & SHARED_FLAGS) == 2 || shared / ONE_REFERENCE > args.threads + 1)
        wrong = "ob_ref_shared";
    else if (type != &types[0] && type != &types[1] && type != &types[2])
        wrong = "ob_type";
    else if (gc_bits != GC_BITS + at->size || atomic_load_explicit(&object->mutex, memory_order_relaxed) != 0)
        wrong = "ob_gc_bits or ob_mutex";
    if (wrong)
        stress_fail("object %p of %zu bytes: %s is none of an object (tid %" PRIu64 ", local %" PRIu32
                    ", shared %" PRId64 ", type %p, gc_bits %#x)",
                    (void *)object, sizes[at->size], wrong, tid, local, shared, (const void *)type, gc_bits);
}

static void check_class(const struct sighting *at)
{
    size_t usable = fl_usable_size(at->realm->heap, at->object);
    bool is_as_it_was = usable == at->realm->usable[at->size];
    /* A large block is owned while it lives. */
    if (!is_as_it_was && !(is_large(at->size) && usable == 0))
        stress_fail("object %p of %zu bytes: %zu are usable, were %zu", (void *)at->object, sizes[at->size], usable,
                    at->realm->usable[at->size]);
}

/* Most large contents are compared now and then: it takes long. */
static void check_content(struct actor *actor, const struct sighting *at)
{
    if (at->key && (sizes[at->size] <= 1024 || stress_one_in(&actor->rng, 4)))
        verify(at->object, sizes[at->size], at->key);
}

static void take_reference(struct actor *actor, const struct sighting *at)
{
    struct object *object = at->object;
    if (!try_incref_fast(actor, object) && !try_incref_shared(object)) {
        count(&refused);
        return;
    }
    /* It is a reference on something that lives; on what was meant, if that still is where it was. */
    if (atomic_load_explicit(at->slot, memory_order_acquire) == object) {
        verify(object, sizes[at->size], object->key);
        STRESS_REQUIRE(size_of(at->realm, atomic_load_explicit(&object->type, memory_order_relaxed)) == at->size);
        count(&taken);
    } else {
        count(&lost);
    }
    drop(actor, at->realm, object);
}

static void look(struct actor *actor, const struct sighting *at)
{
    check_header(at);
    check_class(at);
    check_content(actor, at);
    if (stress_one_in(&actor->rng, 3))
        take_reference(actor, at);
    count(&looks);
}

/* Finds an object of one of the first `from` sizes. */
static bool sight(struct actor *actor, struct sighting *at, unsigned from)
{
    struct realm *realm = &realms[stress_below(&actor->rng, HEAPS)];
    unsigned owner = (unsigned)stress_below(&actor->rng, args.threads + 1);
    unsigned size = (unsigned)stress_below(&actor->rng, from);
    unsigned slot = (unsigned)stress_below(&actor->rng, slots_of(size));
    *at = (struct sighting){
        .realm = realm, .slot = &realm->slots[owner < args.threads ? owner : COMMON][size][slot], .size = size};
    at->object = atomic_load_explicit(at->slot, memory_order_acquire);
    if (at->object && slot_defers(slot))
        at->key = at->object->key;
    return at->object != NULL;
}

/* ---- Ending ------------------------------------------------------------------------------------------------------ */

static void check_dead(struct actor *actor, const struct sighting *at)
{
    const struct object *object = at->object;
    STRESS_REQUIRE(atomic_load_explicit(&object->tid, memory_order_relaxed) == 0);
    STRESS_REQUIRE(atomic_load_explicit(&object->local, memory_order_relaxed) == 0);
    int64_t shared = atomic_load_explicit(&object->shared, memory_order_relaxed);
    STRESS_REQUIRE(shared == (at->realm->header.words > 0 ? 0 : MERGED));
    STRESS_REQUIRE(!try_incref_fast(actor, at->object) && !try_incref_shared(at->object));
}

/* Inside a section: replaces an object, and if that was its end, watches it lie dead, or be another if it may be used
 * again at once. */
static void end_and_watch(struct actor *actor)
{
    struct realm *realm = &realms[stress_below(&actor->rng, HEAPS)];
    unsigned size = (unsigned)stress_below(&actor->rng, SIZES);
    unsigned slot = (unsigned)stress_below(&actor->rng, slots_of(size));
    struct sighting at = {.realm = realm, .slot = &realm->slots[actor->owner][size][slot], .size = size};
    at.object = exchange(realm, actor->owner, size, slot, NULL);
    if (!at.object)
        return;
    bool stays = slot_defers(slot) || is_large(size); /* large blocks are never used again at once */
    at.key = stays ? at.object->key : 0;
    bool is_dead = drop(actor, realm, at.object);
    for (unsigned rounds = (unsigned)stress_below(&actor->rng, 4); rounds > 0; rounds--) {
        if (is_dead && stays)
            check_dead(actor, &at);
        look(actor, &at);
        sched_yield();
    }
}

/* ---- What a worker does ------------------------------------------------------------------------------------------ */

static void rest(struct stress_rng *rng)
{
    if (stress_one_in(rng, 8))
        nanosleep(&(struct timespec){.tv_nsec = (long)stress_below(rng, 400000)}, NULL);
    else
        sched_yield();
}

/* With qsbr all of the time between two quiescent states is a section. */
static void read_section(struct actor *actor)
{
    struct sighting sightings[SIGHTINGS_MAX];
    bool locks = args.grace != FL_GRACE_QSBR || stress_one_in(&actor->rng, 2);
    struct fl_thread *thread = actor->threads[stress_below(&actor->rng, HEAPS)];
    if (locks)
        fl_read_lock(thread);
    unsigned found = 0;
    for (unsigned tries = 2 * SIGHTINGS_MAX; tries > 0 && found < SIGHTINGS_MAX; tries--)
        found += sight(actor, &sightings[found], SIZES);
    for (unsigned rounds = 1 + (unsigned)stress_below(&actor->rng, 6); rounds > 0; rounds--) {
        for (unsigned i = 0; i < found; i++)
            look(actor, &sightings[i]);
        if (stress_one_in(&actor->rng, 4))
            end_and_watch(actor);
        if (stress_one_in(&actor->rng, 32))
            fl_thread_flush(actor->threads[stress_below(&actor->rng, HEAPS)]);
        rest(&actor->rng);
    }
    if (locks)
        fl_read_unlock(thread);
}

static void replace(struct actor *actor)
{
    struct realm *realm = &realms[stress_below(&actor->rng, HEAPS)];
    unsigned owner = stress_one_in(&actor->rng, 3) ? COMMON : actor->owner;
    unsigned size = (unsigned)stress_below(&actor->rng, SIZES);
    unsigned slot = (unsigned)stress_below(&actor->rng, slots_of(size));
    bool ebbs = atomic_load_explicit(&tide, memory_order_relaxed) % SIZES == size;
    struct object *object = ebbs ? NULL : make(actor, realm, size, slot_defers(slot), owner != COMMON);
    object = exchange(realm, owner, size, slot, object);
    if (object)
        drop(actor, realm, object);
}

/* Objects that nobody else sees, so that slabs fill and empty. */
static void wave(struct actor *actor)
{
    struct realm *realm = &realms[stress_below(&actor->rng, HEAPS)];
    unsigned size = (unsigned)stress_below(&actor->rng, SIZES);
    struct object *objects[512];
    unsigned wanted = 1 + (unsigned)stress_below(&actor->rng, WAVE_BYTES / sizes[size]);
    wanted = wanted < 512 ? wanted : 512;
    bool is_deferring = stress_one_in(&actor->rng, 2);
    for (unsigned i = 0; i < wanted; i++)
        objects[i] = make(actor, realm, size, is_deferring, true);
    for (unsigned i = 0; i < wanted; i++)
        drop(actor, realm, objects[i]);
}

static void follow_tide(struct actor *actor)
{
    unsigned now = atomic_load_explicit(&tide, memory_order_relaxed);
    if (now == actor->tide_seen)
        return;
    actor->tide_seen = now;
    for (unsigned i = 0; i < HEAPS; i++) {
        empty(actor, &realms[i], actor->owner, now % SIZES);
        empty(actor, &realms[i], COMMON, now % SIZES);
        fl_thread_flush(actor->threads[i]);
    }
}

static void pass_quiescent_states(struct actor *actor)
{
    for (unsigned i = 0; i < HEAPS; i++)
        fl_quiescent(actor->threads[i]);
    if (!stress_one_in(&actor->rng, 50))
        return;
    for (unsigned i = 0; i < HEAPS; i++)
        fl_thread_offline(actor->threads[i]);
    rest(&actor->rng);
    for (unsigned i = 0; i < HEAPS; i++)
        fl_thread_online(actor->threads[i]);
}

static void step(struct actor *actor)
{
    follow_tide(actor);
    if (stress_one_in(&actor->rng, 2))
        read_section(actor);
    else if (stress_one_in(&actor->rng, 16))
        wave(actor);
    else
        for (unsigned i = 0; i < 32; i++)
            replace(actor);
    pass_quiescent_states(actor);
}

static void enter(struct actor *actor, unsigned owner)
{
    *actor = (struct actor){.tid = 16 * (owner + 1), .owner = owner, .sequence = stress_key(owner, 0)};
    actor->rng = stress_rng_make(args.seed, owner);
    for (unsigned i = 0; i < HEAPS; i++)
        actor->threads[i] = stress_attach(realms[i].heap);
}

/* Empties the actor's slots and leaves. */
static void leave(struct actor *actor)
{
    for (unsigned i = 0; i < HEAPS; i++) {
        for (unsigned size = 0; size < SIZES; size++)
            empty(actor, &realms[i], actor->owner, size);
        stress_detach(actor->threads[i]);
    }
}

static void work(struct stress_worker *worker)
{
    struct actor actor;
    enter(&actor, worker->index);
    while (!stress_stopped())
        step(&actor);
    leave(&actor);
}

/* ---- Onlookers ----------------------------------------------------------------------------------------------------- */

/* Small objects: the questions about large blocks lock, which would order, and ThreadSanitizer forgets reads that lie
 * many others back. */
static void look_on(struct actor *actor, struct fl_thread *thread)
{
    struct sighting sightings[SIGHTINGS_MAX];
    unsigned found = 0;
    fl_read_lock(thread);
    for (unsigned tries = 2 * SIGHTINGS_MAX; tries > 0 && found < SIGHTINGS_MAX; tries--)
        found += sight(actor, &sightings[found], ONLOOKER_SIZES);
    for (unsigned rounds = 1 + (unsigned)stress_below(&actor->rng, 4); rounds > 0; rounds--) {
        for (unsigned i = 0; i < found; i++) {
            check_header(&sightings[i]);
            check_class(&sightings[i]);
            check_content(actor, &sightings[i]);
            count(&looks);
        }
        nanosleep(&(struct timespec){.tv_nsec = (long)stress_below(&actor->rng, 200000)}, NULL);
    }
    fl_read_unlock(thread);
}

static void *onlooker(void *argument)
{
    struct actor *actor = argument;
    struct fl_thread *thread = stress_attach(apart);
    while (!stress_stopped()) {
        look_on(actor, thread);
        if (args.grace == FL_GRACE_QSBR)
            fl_quiescent(thread);
    }
    stress_detach(thread);
    return NULL;
}

/* ---- The run ------------------------------------------------------------------------------------------------------ */

static void *trim(void *argument)
{
    (void)argument;
    for (unsigned turn = 0; !stress_stopped(); turn++) {
        struct fl_heap *heap = realms[turn % HEAPS].heap;
        atomic_fetch_add_explicit(&tide, turn % HEAPS == 0, memory_order_relaxed);
        for (unsigned i = 0; i < 4; i++) {
            atomic_fetch_add_explicit(&trimmed, fl_heap_trim(heap, 0), memory_order_relaxed);
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        }
        struct fl_stats stats;
        fl_heap_stats(heap, &stats);
        STRESS_REQUIRE(stats.retired_bytes <= stats.mapped_bytes);
    }
    return NULL;
}

static void make_types(struct realm *realm)
{
    static const char *const names[KINDS] = {"plain", "clear", "legacy"};
    for (unsigned size = 0; size < SIZES; size++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            struct fl_type *type = &realm->types[size][kind];
            *type = (struct fl_type){.name = names[kind], .size = sizes[size], .header = &realm->header};
            type->kind = kind == 0 ? FL_DEALLOC_PLAIN : kind == 1 ? FL_DEALLOC_CLEAR : FL_DEALLOC_LEGACY;
            type->clear = kind == 1 ? clear : NULL;
            type->dealloc = kind == 2 ? dealloc : NULL;
            char error[256] = "";
            if (fl_type_ready(type, NULL, error, sizeof error))
                stress_fail("fl_type_ready: %s", error);
        }
    }
}

static void make_realm(struct realm *realm, bool library_clears)
{
    realm->header = (struct fl_header){.bytes = HEADER_BYTES,
                                       .words = library_clears ? 3 : 0,
                                       .clear = {{offsetof(struct object, tid), 8},
                                                 {offsetof(struct object, local), 4},
                                                 {offsetof(struct object, shared), 8}}};
    struct fl_options options = {.grace = args.grace,
                                 .header = &realm->header,
                                 .reserve_bytes = (size_t)256 << 20,
                                 .magazine_blocks = 16,
                                 .retain_bytes = library_clears ? 1 : SIZE_MAX,
                                 .defer_bytes = (size_t)4 << 20};
    realm->heap = stress_heap_create(&options);
    make_types(realm);
    struct fl_thread *thread = stress_attach(realm->heap);
    for (unsigned size = 0; size < SIZES; size++) {
        void *probe = fl_type_alloc(thread, &realm->types[size][0]);
        STRESS_REQUIRE(probe);
        memset(probe, 0, HEADER_BYTES);
        realm->usable[size] = fl_usable_size(realm->heap, probe);
        STRESS_REQUIRE(realm->usable[size] >= sizes[size]);
        fl_type_free(thread, probe, &realm->types[size][0]);
    }
    stress_detach(thread);
}

static void report_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    stress_fail("signal %d: a fault at %p", number, info->si_addr);
}

/* Sanitizers report faults by themselves. */
static void watch_faults(void)
{
    struct sigaction action = {.sa_sigaction = report_fault, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};
    if (!STRESS_SANITIZED) {
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
    }
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_stale");
    STRESS_REQUIRE(args.threads < OWNERS_MAX && args.grace != FL_GRACE_HOST);
    watch_faults();
    make_realm(&realms[0], true);
    make_realm(&realms[1], false);

    apart = stress_heap_create(&(struct fl_options){.grace = args.grace, .reserve_bytes = (size_t)16 << 20});

    pthread_t trimmer, ids[ONLOOKERS];
    struct actor onlookers[ONLOOKERS];
    stress_thread_start(&trimmer, trim, NULL);
    for (unsigned i = 0; i < ONLOOKERS; i++) {
        onlookers[i].rng = stress_rng_make(args.seed, 1000 + i);
        stress_thread_start(&ids[i], onlooker, &onlookers[i]);
    }
    stress_run(&args, work, NULL);
    for (unsigned i = 0; i < ONLOOKERS; i++)
        stress_thread_join(ids[i]);
    stress_thread_join(trimmer);

    struct actor last;
    enter(&last, COMMON);
    leave(&last);
    printf(
        "%lu looks; of the references %lu were taken, %lu on another object, %lu refused; %lu objects ended; %zu MiB "
        "trimmed\n",
        atomic_load(&looks), atomic_load(&taken), atomic_load(&lost), atomic_load(&refused), atomic_load(&ended),
        atomic_load(&trimmed) >> 20);
    for (unsigned i = 0; i < HEAPS; i++) {
        stress_barrier(realms[i].heap);
        stress_heap_finish(realms[i].heap);
    }
    stress_heap_finish(apart);
    return 0;
}
