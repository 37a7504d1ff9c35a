/* SPDX-License-Identifier: MIT
 *
 * Blocks handed from thread to thread: everything is freed by whichever thread comes across it.
 *
 * The threads share a row of mailboxes. Each step puts a new letter into a random mailbox and takes out the one that
 * lay there; the taker verifies every payload byte of its content and frees it. A letter is an object of a PLAIN
 * type; its content is a bundle of one of these:
 *
 *     single    a block of any size, freed by fl_free_sized, fl_free or fl_heap_free
 *     zeroed    a block of any size from fl_alloc_zeroed
 *     many      blocks of one size from fl_alloc_many, freed by fl_free_many
 *     object    an object of each dealloc kind, deallocated by fl_dealloc or fl_dealloc_tagged
 *
 * An object holds a block. CLEAR, FINALIZE and LEGACY free it in their callbacks; for PLAIN the taker does. A
 * FINALIZE object resurrects the first time, and its second deallocation must not finalize it again.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <string.h>

enum { MAILBOXES = 64, BUNDLE_MAX = 40 };

enum content { SINGLE, ZEROED, MANY, OBJECT, CONTENTS };

struct parcel {
    struct stress_block held;
    uint64_t key;
    unsigned char finalized;
    bool resurrected;
    unsigned char payload[19];
};

struct letter {
    enum content content;
    uint64_t key;
    struct stress_block single; /* SINGLE; ZEROED leaves key and bytes out */
    size_t size;                /* MANY */
    size_t count;
    void *blocks[BUNDLE_MAX];
    const struct fl_type *type; /* OBJECT */
    struct parcel *parcel;
    unsigned char payload[33];
};

struct office {
    struct fl_heap *heap;
    _Atomic(struct letter *) mailboxes[MAILBOXES];
};

/* ---- Types ------------------------------------------------------------------------------------------------ */

static void parcel_verify(const struct parcel *parcel)
{
    stress_verify(parcel->payload, sizeof parcel->payload, parcel->key);
}

static void parcel_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    struct parcel *parcel = object;
    parcel_verify(parcel);
    stress_block_verify(&parcel->held);
    fl_free(thread, parcel->held.block);
}

static bool parcel_finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread;
    (void)type;
    struct parcel *parcel = object;
    parcel_verify(parcel);
    STRESS_REQUIRE(!parcel->resurrected);
    parcel->resurrected = true;
    return true;
}

static void parcel_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    parcel_clear(thread, object, type);
    fl_type_free(thread, object, type);
}

static struct fl_type letter_type = {.name = "letter", .size = sizeof(struct letter)};

static struct fl_type parcel_types[] = {
    {.name = "legacy parcel", .size = sizeof(struct parcel), .dealloc = parcel_dealloc},
    {.name = "plain parcel", .size = sizeof(struct parcel), .kind = FL_DEALLOC_PLAIN},
    {.name = "clear parcel", .size = sizeof(struct parcel), .kind = FL_DEALLOC_CLEAR, .clear = parcel_clear},
    {.name = "finalize parcel",
     .size = sizeof(struct parcel),
     .kind = FL_DEALLOC_FINALIZE,
     .clear = parcel_clear,
     .finalize = parcel_finalize,
     .finalized_offset = offsetof(struct parcel, finalized),
     .finalized_mask = 1},
};

static void type_ready(struct fl_type *type, enum fl_dealloc_kind kind)
{
    char error[256] = "";
    if (fl_type_ready(type, NULL, error, sizeof error))
        stress_fail("fl_type_ready: %s", error);
    STRESS_REQUIRE(type->kind == kind);
}

static void types_ready(void)
{
    letter_type.kind = FL_DEALLOC_PLAIN;
    type_ready(&letter_type, FL_DEALLOC_PLAIN);
    for (unsigned kind = 0; kind < 4; kind++)
        type_ready(&parcel_types[kind], (enum fl_dealloc_kind)kind);
}

/* ---- Writing a letter --------------------------------------------------------------------------------------- */

static void write_zeroed(struct fl_thread *thread, struct letter *letter, size_t size)
{
    unsigned char *block = fl_alloc_zeroed(thread, size);
    STRESS_REQUIRE(block);
    for (size_t i = 0; i < size; i++)
        STRESS_REQUIRE(block[i] == 0);
    stress_fill(block, size, letter->key);
    letter->single = (struct stress_block){.block = block, .size = size, .bytes = size, .key = letter->key};
}

static void write_many(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    letter->size = stress_size(rng);
    letter->count = stress_below(rng, letter->size > 4096 ? 4 : BUNDLE_MAX + 1);
    STRESS_REQUIRE(fl_alloc_many(thread, letter->size, letter->count, letter->blocks) == 0);
    for (size_t i = 0; i < letter->count; i++)
        stress_fill(letter->blocks[i], letter->size, letter->key + i);
}

static void write_object(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    letter->type = &parcel_types[stress_below(rng, 4)];
    struct parcel *parcel = fl_type_alloc(thread, letter->type);
    STRESS_REQUIRE(parcel);
    *parcel = (struct parcel){.key = letter->key};
    stress_fill(parcel->payload, sizeof parcel->payload, parcel->key);
    parcel->held = stress_block_make(thread, stress_below(rng, 200), letter->key);
    letter->parcel = parcel;
}

static struct letter *letter_write(struct fl_thread *thread, struct stress_rng *rng, uint64_t key)
{
    struct letter *letter = fl_type_alloc(thread, &letter_type);
    STRESS_REQUIRE(letter);
    memset(letter, 0, sizeof *letter);
    letter->key = key;
    letter->content = (enum content)stress_below(rng, CONTENTS);
    stress_fill(letter->payload, sizeof letter->payload, key);
    switch (letter->content) {
    case ZEROED:
        write_zeroed(thread, letter, stress_size(rng));
        break;
    case MANY:
        write_many(thread, letter, rng);
        break;
    case OBJECT:
        write_object(thread, letter, rng);
        break;
    default:
        letter->single = stress_block_make(thread, stress_size(rng), key);
    }
    return letter;
}

/* ---- Reading a letter --------------------------------------------------------------------------------------- */

static void read_many(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    for (size_t i = 0; i < letter->count; i++)
        stress_verify(letter->blocks[i], letter->size, letter->key + i);
    if (!stress_one_in(rng, 4)) {
        fl_free_many(thread, letter->size, letter->count, letter->blocks);
        return;
    }
    for (size_t i = 0; i < letter->count; i++)
        fl_free(thread, letter->blocks[i]);
}

static void dealloc(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    if (stress_one_in(rng, 2))
        fl_dealloc(thread, letter->parcel, letter->type);
    else
        fl_dealloc_tagged(thread, letter->parcel, letter->type, fl_type_tag(letter->type));
}

static void read_object(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    struct parcel *parcel = letter->parcel;
    parcel_verify(parcel);
    STRESS_REQUIRE(parcel->key == letter->key);
    switch (letter->type->kind) {
    case FL_DEALLOC_PLAIN:
        stress_block_drop(thread, &parcel->held, rng);
        break;
    case FL_DEALLOC_FINALIZE:
        dealloc(thread, letter, rng);
        STRESS_REQUIRE(parcel->resurrected);
        parcel_verify(parcel);
        stress_block_verify(&parcel->held);
        break;
    default:
        break;
    }
    dealloc(thread, letter, rng);
}

static void letter_read(struct fl_thread *thread, struct letter *letter, struct stress_rng *rng)
{
    stress_verify(letter->payload, sizeof letter->payload, letter->key);
    switch (letter->content) {
    case MANY:
        read_many(thread, letter, rng);
        break;
    case OBJECT:
        read_object(thread, letter, rng);
        break;
    default:
        stress_block_drop(thread, &letter->single, rng);
    }
    fl_dealloc(thread, letter, &letter_type);
}

/* ---- The threads -------------------------------------------------------------------------------------------- */

static void work(struct stress_worker *worker)
{
    struct office *office = worker->shared;
    struct fl_thread *thread = stress_attach(office->heap);
    for (uint64_t sequence = 0; !stress_stopped(); sequence++) {
        struct letter *letter = letter_write(thread, &worker->rng, stress_key(worker->index, sequence << 6));
        _Atomic(struct letter *) *mailbox = &office->mailboxes[stress_below(&worker->rng, MAILBOXES)];
        letter = atomic_exchange_explicit(mailbox, letter, memory_order_acq_rel);
        if (letter)
            letter_read(thread, letter, &worker->rng);
        if (stress_one_in(&worker->rng, 5000))
            fl_thread_flush(thread);
    }
    stress_detach(thread);
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_handoff");
    static struct office office;
    types_ready();
    office.heap = stress_heap_create(NULL);
    stress_run(&args, work, &office);

    struct stress_rng rng = stress_rng_make(args.seed, args.threads);
    struct fl_thread *thread = stress_attach(office.heap);
    for (unsigned i = 0; i < MAILBOXES; i++) {
        struct letter *letter = atomic_load_explicit(&office.mailboxes[i], memory_order_relaxed);
        if (letter)
            letter_read(thread, letter, &rng);
    }
    stress_detach(thread);
    stress_heap_finish(office.heap);
    return 0;
}
