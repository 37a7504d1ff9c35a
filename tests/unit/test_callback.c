/* SPDX-License-Identifier: MIT
 *
 * Callbacks that do not return: by longjmp, which tells nobody. Whatever the callback, the handle goes on working and
 * the callback is called again; and none is called from inside itself.
 */
#include "fiber.h"
#include "grace_support.h"

enum { SIZE = 64, MANY = 1000, DEPTH = 20, FRAME_BYTES = 1000 };

/* ---- What the callbacks do. */

static struct {
    struct fl_thread *thread;
    void (*act)(void); /* called by each callback */
    unsigned calls, depth, deepest;
} played;

static jmp_buf out;

static void leave(void)
{
    longjmp(out, 1);
}

static void act(void)
{
    played.calls++;
    if (++played.depth > played.deepest)
        played.deepest = played.depth;
    if (played.act != NULL)
        played.act();
    played.depth--;
}

static void on_refill(struct fl_thread *thread, size_t bytes)
{
    (void)thread, (void)bytes;
    act();
}

static bool on_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)heap, (void)bytes, (void)context;
    act();
    return false;
}

static void on_deferred(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)heap, (void)bytes, (void)context;
    act();
}

static int begin_play(void **state)
{
    (void)state;
    memset(&played, 0, sizeof played);
    return 0;
}

#define PLAY_TEST(test) cmocka_unit_test_setup(test, begin_play)

/* Whether `call` was left by longjmp. */
static bool is_left(void (*call)(void *argument), void *argument)
{
    played.depth = 0;
    if (setjmp(out) != 0)
        return true;
    call(argument);
    return false;
}

/* The same with the stack longer by some frames, whose contents are written, as those of the host's functions. */
__attribute__((noinline)) static bool is_left_deeper(unsigned depth, void (*call)(void *), void *argument)
{
    char frame[FRAME_BYTES];
    memset(frame, 1, sizeof frame);
    bool left = depth == 0 ? is_left(call, argument) : is_left_deeper(depth - 1, call, argument);
    return left && frame[call == NULL] == 1;
}

static void allocate_one(void *thread)
{
    fl_free(thread, fl_alloc(thread, SIZE));
}

/* ---- on_pressure. */

/* Blocks that are linked through themselves. */
static void *list;

static void exhaust(void *thread)
{
    void **block;
    while ((block = fl_alloc(thread, SIZE)) != NULL) {
        *block = list;
        list = block;
    }
}

static void free_list(struct fl_thread *thread)
{
    while (list != NULL) {
        void *next = *(void **)list;
        fl_free(thread, list);
        list = next;
    }
}

static struct bed limited_bed(void)
{
    return bed_with(&(struct fl_options){.limit_bytes = 4 * 65536, .on_pressure = on_pressure});
}

static void exhaust_and_be_left(struct bed *bed, unsigned depth)
{
    unsigned before = played.calls;
    assert_true(is_left_deeper(depth, exhaust, bed->thread));
    assert_int_equal(played.calls, before + 1);
    free_list(bed->thread);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_sound(bed->heap);
}

static void on_pressure_that_was_left_is_asked_at_each_exhaustion(void **state)
{
    (void)state;
    played.act = leave;
    struct bed beds[] = {limited_bed(), limited_bed()};
    for (unsigned round = 0; round < 6; round++)
        exhaust_and_be_left(&beds[round % 2], 0);
    end_bed(&beds[0]);
    end_bed(&beds[1]);
}

static void it_does_not_matter_how_deep_the_stack_is(void **state)
{
    (void)state;
    if (!stacks_can_be_read())
        skip();
    played.act = leave;
    struct bed bed = limited_bed();
    for (unsigned depth = 0; depth < DEPTH; depth++)
        exhaust_and_be_left(&bed, depth);
    for (unsigned depth = DEPTH; depth-- > 0;)
        exhaust_and_be_left(&bed, depth);
    end_bed(&bed);
}

static void exhaust_again(void)
{
    for (unsigned i = 0; i < 3; i++)
        assert_null(fl_alloc(played.thread, SIZE));
    assert_false(is_left_deeper(DEPTH, exhaust, played.thread));
}

static void on_pressure_is_not_asked_from_inside_itself(void **state)
{
    (void)state;
    played.act = exhaust_again;
    struct bed bed = limited_bed();
    played.thread = bed.thread;
    for (unsigned round = 1; round <= 3; round++) {
        assert_false(is_left(exhaust, bed.thread));
        assert_int_equal(played.calls, round);
    }
    free_list(bed.thread);
    end_bed(&bed);
}

/* Leaves an outer callback from the inside of another one. */
static void exhaust_other(void)
{
    played.act = leave;
    exhaust(played.thread);
}

static void leaving_two_callbacks_at_once_leaves_neither_marked(void **state)
{
    (void)state;
    struct bed limited = limited_bed(), refilled = bed_with(&(struct fl_options){.on_refill = on_refill});
    played.thread = limited.thread;
    for (unsigned round = 1; round <= 4; round++) {
        played.act = exhaust_other;
        assert_true(is_left(allocate_one, refilled.thread));
        assert_int_equal(played.calls, 2 * round);
        fl_thread_flush(refilled.thread);
        free_list(limited.thread);
    }
    end_bed(&limited);
    end_bed(&refilled);
}

/* ---- on_refill. */

/* Allocates what more than one refill brings. */
static void allocate_many(void *thread)
{
    void *blocks[MANY];
    size_t count = 3 * class_stats_of(fl_thread_heap(thread), SIZE).magazine_blocks;
    assert_int_equal(fl_alloc_many(thread, SIZE, count, blocks), 0);
    fl_free_many(thread, SIZE, count, blocks);
    fl_thread_flush(thread);
}

static void allocate_many_inside(void)
{
    allocate_many(played.thread);
}

static void on_refill_is_not_called_from_inside_itself(void **state)
{
    (void)state;
    static const unsigned magazines[] = {2, FLI_MAGAZINE_SLOTS};
    for (size_t i = 0; i < COUNT_OF(magazines); i++) {
        played.act = allocate_many_inside;
        played.deepest = 0;
        struct bed bed = bed_with(&(struct fl_options){.on_refill = on_refill, .magazine_blocks = magazines[i]});
        played.thread = bed.thread;
        for (unsigned round = 1; round <= 5; round++) {
            allocate_many(bed.thread);
            assert_true(played.calls >= round);
        }
        assert_int_equal(played.deepest, 1);
        end_bed(&bed);
    }
}

static void use_up_inside(void)
{
    void *blocks[8 * MANY];
    size_t count = class_stats_of(fl_thread_heap(played.thread), SIZE).cached;
    assert_in_range(count, 1, COUNT_OF(blocks));
    assert_int_equal(fl_alloc_many(played.thread, SIZE, count, blocks), 0);
    for (size_t i = 0; i < count; i++)
        fl_heap_free(fl_thread_heap(played.thread), blocks[i]);
}

static void on_refill_may_use_up_what_was_refilled(void **state)
{
    (void)state;
    played.act = use_up_inside;
    struct bed bed = bed_with(&(struct fl_options){
        .on_refill = on_refill, .retain_bytes = SIZE_MAX, .magazine_blocks = FLI_MAGAZINE_SLOTS});
    played.thread = bed.thread;
    void *mine[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, mine), 0);
    assert_int_equal(played.deepest, 1);
    fl_free_many(bed.thread, SIZE, MANY, mine);
    end_bed(&bed);
}

static void on_refill_that_was_left_loses_nothing_and_is_called_again(void **state)
{
    (void)state;
    unsigned depths = stacks_can_be_read() ? DEPTH : 1;
    struct bed bed = bed_with(&(struct fl_options){.on_refill = on_refill});
    for (unsigned depth = 0; depth < depths; depth++) {
        played.act = leave;
        unsigned before = played.calls;
        assert_true(is_left_deeper(depth, allocate_one, bed.thread));
        assert_int_equal(played.calls, before + 1);
        assert_int_equal(stats_of(bed.heap).live_blocks, 0);
        played.act = NULL;
        assert_false(is_left(allocate_one, bed.thread));
        fl_thread_flush(bed.thread);
        assert_false(is_left_deeper(depth, allocate_one, bed.thread));
        assert_int_equal(played.calls, before + 2);
        fl_thread_flush(bed.thread);
    }
    end_bed(&bed);
}

/* ---- on_deferred. */

/* Allocated outside of what may be left. */
static void *to_defer[MANY];

static void defer_past_the_bound(void *thread)
{
    defer_many(thread, SIZE, MANY, to_defer);
    fl_thread_flush(thread);
}

static void on_deferred_that_was_left_is_called_again(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host,
                                 &(struct fl_options){.defer_bytes = MANY * SIZE - 1, .on_deferred = on_deferred});
    for (unsigned round = 1; round <= 4; round++) {
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, to_defer), 0);
        played.act = leave;
        assert_true(is_left(defer_past_the_bound, bed.thread));
        assert_int_equal(played.calls, round);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, MANY * SIZE);
        played.act = NULL;
        fl_thread_flush(bed.thread);
        let_all_go(&host, bed.thread);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    }
    end_bed(&bed);
}

/* A heap with one submitted block, and another that a detach will submit. */
static void detach(void *thread)
{
    fl_thread_detach(thread);
}

static void a_detach_that_was_left_can_be_made_again(void **state)
{
    (void)state;
    if (!stacks_can_be_read())
        skip();
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.defer_bytes = SIZE / 2, .on_deferred = on_deferred});
    struct fl_thread *other = fl_thread_attach(bed.heap);
    defer_some(other, SIZE, 1);
    played.act = leave;
    assert_true(is_left(detach, other));
    assert_int_equal(stats_of(bed.heap).threads, 2);
    assert_int_equal(fl_thread_detach(other), 0);
    assert_int_equal(stats_of(bed.heap).threads, 1);
    played.act = NULL;
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* ---- clear, finalize, dealloc. */

static void leave_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    act();
}

static bool leave_finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    act();
    return false;
}

static void leave_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    act();
    fl_type_free(thread, object, type);
}

struct victim {
    struct fl_thread *thread;
    void *object;
    const struct fl_type *type;
    bool deferred;
};

static void dealloc(void *argument)
{
    const struct victim *victim = argument;
    (victim->deferred ? fl_dealloc_deferred : fl_dealloc)(victim->thread, victim->object, victim->type);
}

static void an_object_whose_callback_was_left_stays_and_can_be_deallocated_again(void **state)
{
    (void)state;
    struct fl_type types[] = {
        {.name = "cleared", .size = SIZE, .clear = leave_clear},
        {.name = "finalized", .size = SIZE, .finalize = leave_finalize},
        {.name = "finalized once",
         .size = SIZE,
         .finalize = leave_finalize,
         .finalized_offset = 8,
         .finalized_mask = 1},
        {.name = "legacy", .size = SIZE, .dealloc = leave_dealloc},
    };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        assert_int_equal(fl_type_ready(&types[i], NULL, NULL, 0), 0);
        for (unsigned round = 0; round < 200; round++) {
            bool deferred = round % 2 && types[i].kind != FL_DEALLOC_LEGACY;
            struct victim victim = {bed.thread, fl_type_alloc(bed.thread, &types[i]), &types[i], deferred};
            memset(victim.object, 0, SIZE);
            played.act = leave;
            assert_true(is_left(dealloc, &victim));
            assert_int_equal(stats_of(bed.heap).live_blocks, 1);
            unsigned before = played.calls;
            played.act = NULL;
            assert_false(is_left(dealloc, &victim));
            assert_int_equal(played.calls, before + (types[i].finalized_mask == 0));
            assert_int_equal(stats_of(bed.heap).live_blocks, 0);
        }
    }
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* ---- The misuse handler. */

static void handle_misuse(const struct fl_misuse *told)
{
    (void)told;
    act();
}

static void free_nothing_of_ours(void *thread)
{
    int on_stack;
    fl_free(thread, &on_stack);
}

static void a_misuse_handler_that_was_left_is_called_again(void **state)
{
    struct bed *bed = *state;
    begin_play(NULL);
    played.act = leave;
    void *own = fl_alloc(bed->thread, SIZE);
    fl_set_misuse_handler(handle_misuse);
    for (unsigned round = 1; round <= 3; round++) {
        assert_true(is_left(free_nothing_of_ours, bed->thread));
        assert_true(is_left(free_nothing_of_ours, fl_thread_self()));
        assert_int_equal(played.calls, 2 * round);
    }
    fl_set_misuse_handler(NULL);
    fl_free(bed->thread, own);
}

/* ---- Other stacks. */

static ucontext_t home, fiber;

static void exhaust_on_fiber(void)
{
    exhaust(played.thread);
    swapcontext(&fiber, &home);
}

static void on_another_stack_a_callback_that_was_left_is_called_again(void **state)
{
    (void)state;
    if (!stacks_can_be_read() || !stacks_can_be_switched())
        skip();
    static char stack[1 << 18];
    struct bed bed = limited_bed();
    played.thread = bed.thread;
    played.act = leave;
    exhaust_and_be_left(&bed, 0);
    played.act = NULL;
    assert_int_equal(getcontext(&fiber), 0);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = sizeof stack;
    makecontext(&fiber, exhaust_on_fiber, 0);
    assert_int_equal(swapcontext(&home, &fiber), 0);
    assert_int_equal(played.calls, 2);
    free_list(bed.thread);
    end_bed(&bed);
}

/* ---- Callbacks that come back on another OS thread: a fiber parks inside of one and is resumed there. */

static char fiber_stack[1 << 18];
static ucontext_t *resumer; /* where the fiber goes when it parks */
static void (*fiber_body)(void *);
static void *fiber_argument;

static void park(void)
{
    swapcontext(&fiber, resumer);
}

static void run_fiber(void)
{
    fiber_body(fiber_argument);
    park();
}

static void *resume(void *where)
{
    resumer = where;
    swapcontext(where, &fiber);
    return NULL;
}

/* Calls `body` on a fiber: up to where it parks on this OS thread, and the rest on another one. */
static void call_on_two_threads(void (*body)(void *), void *argument)
{
    static ucontext_t here, there;
    fiber_body = body;
    fiber_argument = argument;
    assert_int_equal(getcontext(&fiber), 0);
    fiber.uc_stack.ss_sp = fiber_stack;
    fiber.uc_stack.ss_size = sizeof fiber_stack;
    makecontext(&fiber, run_fiber, 0);
    resume(&here);
    run_on_thread(resume, &there);
}

static void assert_misuse_on_two_threads(void (*body)(void *), void *argument, const char *call, const void *pointer,
                                         const char *what)
{
    played.act = park;
    played.calls = 0;
    call_on_two_threads(body, argument);
    played.act = NULL;
    assert_int_equal(played.calls, 1);
    assert_misuse(call, pointer, what);
    assert_contains(misuse.message, "another OS thread");
}

static void the_types_callbacks_that_come_back_elsewhere_are_told(void **state)
{
    if (!FLI_CHECKED || !stacks_can_be_switched())
        skip();
    struct bed *bed = *state;
    begin_play(NULL);
    struct fl_type types[] = {{.name = "cleared", .size = SIZE, .clear = leave_clear},
                              {.name = "finalized", .size = SIZE, .finalize = leave_finalize}};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        assert_int_equal(fl_type_ready(&types[i], NULL, NULL, 0), 0);
        struct victim victim = {bed->thread, fl_type_alloc(bed->thread, &types[i]), &types[i], false};
        assert_misuse_on_two_threads(dealloc, &victim, "fl_dealloc", victim.object, i == 0 ? "clear" : "finalize");
        assert_string_equal(misuse.type, types[i].name);
        /* The object has been left alone. */
        assert_int_equal(stats_of(bed->heap).live_blocks, 1);
        fl_type_free(bed->thread, victim.object, &types[i]);
    }
}

static void defer_one(void *thread)
{
    fl_free_deferred(thread, to_defer[0], 100000);
}

static void try_to_allocate_much(void *thread)
{
    assert_null(fl_alloc(thread, 4 * 65536));
}

static void the_heaps_callbacks_that_come_back_elsewhere_are_told(void **state)
{
    (void)state;
    if (!FLI_CHECKED || !stacks_can_be_switched())
        skip();
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    struct played_host host = {0};
    struct bed limited = limited_bed(), refilled = bed_with(&(struct fl_options){.on_refill = on_refill}),
               deferring = bed_of_host(&host, &(struct fl_options){.defer_bytes = 1, .on_deferred = on_deferred});
    void *block = fl_alloc(limited.thread, SIZE);
    assert_misuse_on_two_threads(try_to_allocate_much, limited.thread, "on_pressure", limited.heap, "callback");
    fl_free(limited.thread, block);
    to_defer[0] = fl_alloc(deferring.thread, 100000);
    assert_misuse_on_two_threads(defer_one, deferring.thread, "on_deferred", deferring.heap, "callback");
    let_all_go(&host, deferring.thread);
    played.act = park;
    call_on_two_threads(allocate_one, refilled.thread);
    assert_true(misuse.count > 0);
    misuse.count = 1;
    assert_misuse("on_refill", refilled.thread, "another OS thread");
    played.act = NULL;
    fl_set_misuse_handler(NULL);
    end_bed(&limited);
    end_bed(&refilled);
    end_bed(&deferring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAY_TEST(on_pressure_that_was_left_is_asked_at_each_exhaustion),
        PLAY_TEST(it_does_not_matter_how_deep_the_stack_is),
        PLAY_TEST(on_pressure_is_not_asked_from_inside_itself),
        PLAY_TEST(leaving_two_callbacks_at_once_leaves_neither_marked),
        PLAY_TEST(on_refill_is_not_called_from_inside_itself),
        PLAY_TEST(on_refill_may_use_up_what_was_refilled),
        PLAY_TEST(on_refill_that_was_left_loses_nothing_and_is_called_again),
        PLAY_TEST(on_deferred_that_was_left_is_called_again),
        PLAY_TEST(a_detach_that_was_left_can_be_made_again),
        PLAY_TEST(an_object_whose_callback_was_left_stays_and_can_be_deallocated_again),
        BED_TEST(a_misuse_handler_that_was_left_is_called_again),
        PLAY_TEST(on_another_stack_a_callback_that_was_left_is_called_again),
        MISUSE_TEST(the_types_callbacks_that_come_back_elsewhere_are_told),
        PLAY_TEST(the_heaps_callbacks_that_come_back_elsewhere_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
