/* SPDX-License-Identifier: MIT */
/* link: -Wl,--wrap=madvise -Wl,--wrap=mprotect */
#include "ground.h"

#include "memory/huge.h"

#include <sys/mman.h>

/* Calls of madvise. */
static unsigned decommits, huge, small;
static const void *huge_at, *small_at; /* the lowest address of huge pages, the latest of small ones */

int __real_madvise(void *address, size_t length, int advice);
int __wrap_madvise(void *address, size_t length, int advice);

int __wrap_madvise(void *address, size_t length, int advice)
{
    decommits += advice == MADV_DONTNEED;
    huge += advice == FLI_ADVICE_HUGE;
    if (advice == FLI_ADVICE_HUGE && (huge_at == NULL || address < huge_at))
        huge_at = address;
    small_at = advice == FLI_ADVICE_SMALL ? address : small_at;
    small += advice == FLI_ADVICE_SMALL;
    return __real_madvise(address, length, advice);
}

static bool refuses; /* the system refuses to make memory writable */

int __real_mprotect(void *address, size_t length, int protection);
int __wrap_mprotect(void *address, size_t length, int protection);

int __wrap_mprotect(void *address, size_t length, int protection)
{
    if (!refuses)
        return __real_mprotect(address, length, protection);
    errno = ENOMEM;
    return -1;
}

static void forget_calls(void)
{
    decommits = huge = small = 0;
    huge_at = small_at = NULL;
}

static void a_cold_slab_serves_another_class_from_zeroed_pages(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024), other = fl_size_class(80);
    uint32_t slab = ground_begin(slabs, c);
    if (!FLI_CHECKED) /* checked builds poison what nobody has allocated */
        memset(fli_slab_start(slabs, slab), 0xff, FLI_SLAB_BYTES);
    fli_slab_retire(slabs, slab);
    assert_int_equal(fli_idle_make(slabs, slab, 0), FLI_SLAB_BYTES);
    assert_int_equal(fli_idle_cold_count(slabs), 1);
    assert_int_equal(ground_begin(slabs, other), slab);
    assert_int_equal(fli_slab_class_of(slabs, fli_slab_start(slabs, slab)), other);
    assert_int_equal(slabs->committed, 1);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
    if (!FLI_CHECKED)
        assert_int_equal(*(unsigned char *)fli_slab_start(slabs, slab), 0);
}

static void slabs_get_cold_in_runs_and_are_taken_lowest_first(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { SLABS = 70, KEPT = 40 };
    const unsigned classes[] = {fl_size_class(FL_BLOCK_MAX), fl_size_class(FL_BLOCK_MAX / 2)};
    uint32_t begun[SLABS + 1], list = 0;
    for (unsigned i = 1; i <= SLABS; i++)
        begun[i] = ground_begin(slabs, classes[i % 2]);
    for (unsigned odd = 0; odd < 2; odd++)
        for (unsigned i = 1 + odd; i <= SLABS; i += 2)
            if (begun[i] != KEPT) {
                fli_slab_retire(slabs, begun[i]);
                fli_slab_list_add(slabs, &list, begun[i]);
            }
    forget_calls();
    assert_int_equal(fli_idle_make(slabs, list, 0), (SLABS - 1) * FLI_SLAB_BYTES);
    /* A run ends where a chunk does, and at the slab that is in use. */
    assert_in_range(decommits, 4, 6);
    assert_int_equal(fli_idle_cold_count(slabs), SLABS - 1);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    for (uint32_t slab = 1; slab <= SLABS; slab++)
        if (slab != KEPT)
            assert_int_equal(ground_begin(slabs, classes[0]), slab);
    assert_int_equal(slabs->committed, SLABS);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
}

static void warm_slabs_keep_their_memory_and_are_the_next_to_be_used(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { RETIRED = 4, WARM = 2 };
    unsigned c = fl_size_class(FL_BLOCK_MAX), other = fl_size_class(FL_BLOCK_MAX / 2);
    uint32_t begun[RETIRED], list = 0;
    for (unsigned i = 0; i < RETIRED; i++) {
        begun[i] = ground_begin(slabs, c);
        if (!FLI_CHECKED)
            memset(fli_slab_start(slabs, begun[i]), 0xff, FLI_SLAB_BYTES);
    }
    for (unsigned i = 0; i < RETIRED; i++) {
        fli_slab_retire(slabs, begun[i]);
        fli_slab_list_add(slabs, &list, begun[i]);
    }
    assert_int_equal(fli_idle_make(slabs, list, WARM), (RETIRED - WARM) * FLI_SLAB_BYTES);
    assert_int_equal(slabs->warm_count, WARM);
    assert_int_equal(fli_idle_cold_count(slabs), RETIRED - WARM);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    /* What is warm still counts. */
    assert_int_equal(fli_load_relaxed(&ground->limit.used), WARM * FLI_SLAB_BYTES);
    for (unsigned i = 0; i < RETIRED; i++) {
        uint32_t slab = ground_begin(slabs, other);
        if (!FLI_CHECKED)
            assert_int_equal(*(unsigned char *)fli_slab_start(slabs, slab), i < WARM ? 0xff : 0);
        assert_int_equal(slabs->warm_count, i < WARM ? WARM - i - 1 : 0);
        assert_int_equal(fli_load_relaxed(&ground->limit.used), (i < WARM ? WARM : i + 1) * FLI_SLAB_BYTES);
    }
    assert_int_equal(slabs->committed, RETIRED);
}

static void warm_slabs_beyond_what_may_be_warm_get_cold(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { RETIRED = 3 };
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    uint32_t begun[RETIRED];
    for (unsigned i = 0; i < RETIRED; i++)
        begun[i] = ground_begin(slabs, c);
    for (unsigned i = 0; i < RETIRED; i++) {
        fli_slab_retire(slabs, begun[i]);
        assert_int_equal(fli_idle_make(slabs, begun[i], RETIRED), 0);
    }
    assert_int_equal(slabs->warm_count, RETIRED);
    assert_int_equal(fli_idle_make(slabs, 0, 1), (RETIRED - 1) * FLI_SLAB_BYTES);
    assert_int_equal(slabs->warm_count, 1);
    assert_int_equal(fli_idle_make(slabs, 0, 0), FLI_SLAB_BYTES);
    assert_int_equal(fli_idle_cold_count(slabs), RETIRED);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), 0);
}

/* ---- Rows. */

static void begin_upto(struct fli_slabs *slabs, uint32_t count)
{
    for (uint32_t slab = slabs->committed + 1; slab <= count; slab++)
        assert_int_equal(ground_begin(slabs, 1), slab);
}

static void who_wants_a_row_finds_its_slabs_while_others_take_theirs(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { BEFORE = FLI_CHUNK_SLABS - 2, ROW = 4 };
    begin_upto(slabs, BEFORE);
    for (uint32_t i = 0; i < ROW; i++)
        for (uint32_t who = 0; who < 2; who++) {
            uint32_t slab = BEFORE + who * ROW + i + 1;
            assert_int_equal(fli_slab_begin(slabs, 1, i == 0 ? BEFORE + 1 : slab, ROW), slab);
            assert_int_equal(fli_load_relaxed(&ground->limit.used), (BEFORE + 2 * i + who + 1) * FLI_SLAB_BYTES);
        }
    assert_int_equal(slabs->committed, BEFORE + 2 * ROW);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
    assert_int_equal(slabs->reused_bytes, 0); /* what was never in use was not used again */
}

static void what_was_skipped_serves_who_wants_any_slab(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { BEFORE = FLI_CHUNK_SLABS, ROW = 4 };
    begin_upto(slabs, BEFORE);
    assert_int_equal(fli_slab_begin(slabs, 1, 0, ROW), BEFORE + 1);
    assert_int_equal(fli_idle_cold_count(slabs), ROW - 1);
    for (uint32_t slab = BEFORE + 2; slab <= BEFORE + ROW; slab++)
        assert_int_equal(ground_begin(slabs, 1), slab);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
    assert_int_equal(ground_begin(slabs, 1), BEFORE + ROW + 1);
}

static void no_more_than_a_quarter_is_skipped(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t begun = 0;
    for (; slabs->committed < GROUND_SLABS; begun++) {
        assert_true(fli_slab_begin(slabs, 1, 0, FLI_CHUNK_SLABS) != 0);
        assert_true(4 * fli_idle_skipped_count(slabs) <= slabs->committed);
    }
    /* Where no address space is left, what was skipped is taken. */
    for (; begun < GROUND_SLABS; begun++)
        assert_true(fli_slab_begin(slabs, 1, 0, FLI_CHUNK_SLABS) != 0);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
    assert_int_equal(fli_slab_begin(slabs, 1, 0, FLI_CHUNK_SLABS), 0);
}

static void of_warm_slabs_the_one_that_is_wanted_is_taken(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { SLABS = 5, WANTED = 3 };
    uint32_t list = 0;
    begin_upto(slabs, SLABS);
    for (uint32_t slab = 1; slab <= SLABS; slab++) {
        fli_slab_retire(slabs, slab);
        fli_slab_list_add(slabs, &list, slab);
    }
    assert_int_equal(fli_idle_make(slabs, list, SLABS), 0);
    assert_int_equal(fli_slab_begin(slabs, 1, WANTED, 1), WANTED);
    assert_int_equal(slabs->warm_count, SLABS - 1);
    uint32_t next = fli_slab_begin(slabs, 1, WANTED, 1); /* it is in use now */
    assert_true(next != 0 && next != WANTED && next <= SLABS);
}

/* ---- Huge pages. */

/* Begins so many slabs, and makes them cold but for `kept`. */
static void begin_and_make_cold(struct fli_slabs *slabs, uint32_t count, uint32_t kept)
{
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    uint32_t list = 0;
    for (uint32_t slab = 1; slab <= count; slab++)
        assert_int_equal(ground_begin(slabs, c), slab);
    for (uint32_t slab = 1; slab <= count; slab++) {
        if (slab == kept)
            continue;
        fli_slab_retire(slabs, slab);
        fli_slab_list_add(slabs, &list, slab);
    }
    fli_idle_make(slabs, list, 0);
}

static void begin_all(struct fli_slabs *slabs, uint32_t first)
{
    for (uint32_t slab = first; slab <= GROUND_SLABS; slab++)
        assert_int_equal(ground_begin(slabs, 1), slab);
}

/* How often the library has asked for huge pages, which it does where the system has them. */
static void assert_huge(unsigned times)
{
    assert_int_equal(huge, FLI_HAVE_HUGE_PAGES ? times : 0);
}

/* Begins a slab that is the first of its class at a home. */
static uint32_t begin_lone(struct fli_slabs *slabs)
{
    return fli_slab_begin(slabs, 1, 0, 1);
}

/* Begins slabs from one number to another, which are lone or not. */
static void begin_row(struct fli_slabs *slabs, uint32_t first, uint32_t last, bool lone)
{
    for (uint32_t slab = first; slab <= last; slab++)
        assert_int_equal(lone ? begin_lone(slabs) : ground_begin(slabs, 1), slab);
}

static enum fli_kind kind_of(const struct fli_slabs *slabs, uint32_t slab)
{
    return fli_idle_chunk(slabs, fli_idle_chunk_of(slab))->kind;
}

static void all_but_the_first_few_slabs_lie_in_huge_pages(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->huge_pages = true;
    forget_calls();
    begin_row(slabs, 1, FLI_HUGE_FEW, false);
    assert_huge(0);
    begin_row(slabs, FLI_CHUNK_SLABS + 1, 2 * FLI_CHUNK_SLABS, false);
    assert_huge(1);
    if (FLI_HAVE_HUGE_PAGES)
        assert_ptr_equal(huge_at, fli_slab_start(slabs, FLI_CHUNK_SLABS + 1));
    assert_int_equal(ground_begin(slabs, 1), 2 * FLI_CHUNK_SLABS + 1);
    assert_huge(2);
}

static void lone_slabs_lie_in_small_pages_while_there_is_room(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->huge_pages = true;
    forget_calls();
    begin_row(slabs, 1, FLI_HUGE_FEW, false);
    begin_row(slabs, FLI_CHUNK_SLABS + 1, FLI_CHUNK_SLABS + FLI_CHUNK_SLABS - 2, false);
    begin_row(slabs, FLI_HUGE_FEW + 1, FLI_CHUNK_SLABS, true);
    assert_int_equal(slabs->lone_count, FLI_CHUNK_SLABS - FLI_HUGE_FEW);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
    /* Fewer than a half are lone: no further chunk gets small pages. */
    assert_int_equal(begin_lone(slabs), 2 * FLI_CHUNK_SLABS - 1);
    assert_huge(1);
}

static void a_lone_slab_is_one_until_it_is_idle(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t list = 0, slab = begin_lone(slabs);
    assert_int_equal(slabs->lone_count, 1);
    fli_slab_retire(slabs, slab);
    fli_slab_unretire(slabs, slab);
    fli_slab_retire(slabs, slab);
    assert_int_equal(slabs->lone_count, 1);
    fli_slab_list_add(slabs, &list, slab);
    fli_idle_make(slabs, list, 1);
    assert_int_equal(slabs->lone_count, 0);
    assert_int_equal(ground_begin(slabs, 1), slab);
    assert_int_equal(slabs->lone_count, 0);
}

static void while_two_thirds_of_the_slabs_are_the_first_of_their_class_memory_has_small_pages(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    /* DENSE is where a chunk begins. */
    enum { LONE = 40, SPARSE = LONE + LONE / 2 + 1, DENSE = 2 * FLI_CHUNK_SLABS, NEXT = DENSE + FLI_CHUNK_SLABS };
    slabs->huge_pages = true;
    forget_calls();
    begin_row(slabs, 1, LONE, true);
    begin_row(slabs, LONE + 1, SPARSE, false);
    assert_huge(0);
    /* Then memory is used densely, but not by the first of a class. */
    assert_int_equal(ground_begin(slabs, 1), DENSE + 1);
    assert_huge(1);
    begin_row(slabs, SPARSE + 1, DENSE, true);
    /* As long as most slabs are lone, further ones get a chunk, too. The rest of the one before waits for others. */
    assert_int_equal(begin_lone(slabs), NEXT + 1);
    assert_int_equal(kind_of(slabs, NEXT + 1), FLI_SPARSE);
    assert_int_equal(ground_begin(slabs, 1), NEXT + 2);
    begin_row(slabs, DENSE + 2, NEXT, false);
    assert_huge(1);
}

static void small_pages_serve_where_the_limit_has_no_room_for_a_huge_one(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    slabs->huge_pages = true;
    ground->limit.most = FLI_CHUNK_BYTES + FLI_SLAB_BYTES;
    forget_calls();
    begin_row(slabs, 1, FLI_CHUNK_SLABS, false);
    assert_huge(0);
}

/* Begins slabs until so many chunks are in use, but for what the first one has left. */
static void begin_chunks(struct fli_slabs *slabs, uint32_t chunks)
{
    begin_row(slabs, 1, FLI_HUGE_FEW, false);
    begin_row(slabs, FLI_CHUNK_SLABS + 1, chunks * FLI_CHUNK_SLABS, false);
}

static void the_first_chunk_asks_for_huge_pages_once_the_heap_has_grown(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { LAST = (FLI_HUGE_GROWN_CHUNKS + 1) * FLI_CHUNK_SLABS };
    slabs->huge_pages = true;
    begin_chunks(slabs, FLI_HUGE_GROWN_CHUNKS + 1);
    assert_int_equal(kind_of(slabs, 1), FLI_SPARSE);
    forget_calls();
    assert_int_equal(ground_begin(slabs, 1), LAST + 1);
    if (FLI_HAVE_HUGE_PAGES)
        assert_ptr_equal(huge_at, fli_slab_start(slabs, 1));
    assert_int_equal(kind_of(slabs, 1), FLI_DENSE);
    /* What is left of it is used, and it does not ask again. */
    forget_calls();
    begin_row(slabs, FLI_HUGE_FEW + 1, FLI_CHUNK_SLABS, false);
    begin_row(slabs, LAST + 2, LAST + 2 * FLI_CHUNK_SLABS, false);
    if (FLI_HAVE_HUGE_PAGES)
        assert_ptr_equal(huge_at, fli_slab_start(slabs, LAST + FLI_CHUNK_SLABS + 1));
}

static void a_first_chunk_that_was_trimmed_keeps_small_pages_when_the_heap_grows(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->huge_pages = true;
    begin_and_make_cold(slabs, 2, 2);
    assert_int_equal(ground_begin(slabs, 1), 1);
    forget_calls();
    begin_row(slabs, 3, FLI_HUGE_FEW, false);
    begin_row(slabs, FLI_CHUNK_SLABS + 1, (FLI_HUGE_GROWN_CHUNKS + 2) * FLI_CHUNK_SLABS, false);
    assert_true(slabs->has_grown);
    assert_int_equal(kind_of(slabs, 1), FLI_SPARSE);
    if (FLI_HAVE_HUGE_PAGES)
        assert_ptr_equal(huge_at, fli_slab_start(slabs, FLI_CHUNK_SLABS + 1));
}

static void the_first_chunk_of_a_heap_that_has_shrunk_has_small_pages(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t list = 0;
    slabs->huge_pages = true;
    begin_chunks(slabs, 3);
    forget_calls();
    for (uint32_t slab = 1; slab <= FLI_HUGE_FEW; slab++) {
        fli_slab_retire(slabs, slab);
        fli_slab_list_add(slabs, &list, slab);
    }
    fli_idle_make(slabs, list, 0);
    if (FLI_HAVE_HUGE_PAGES)
        assert_ptr_equal(small_at, fli_slab_start(slabs, 1));
    begin_row(slabs, 1, FLI_CHUNK_SLABS, true);
    assert_huge(0);
}

static void memory_is_committed_in_whole_chunks(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    for (uint32_t slab = 1; slab <= GROUND_SLABS; slab++) {
        assert_int_equal(ground_begin(slabs, 1), slab);
        assert_int_equal(fli_ranges_last(&slabs->ranges)->committed % FLI_CHUNK_BYTES, 0);
    }
}

static void without_the_wish_for_huge_pages_none_are_asked_for(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    forget_calls();
    begin_and_make_cold(slabs, GROUND_SLABS, 0);
    for (uint32_t slab = 1; slab <= GROUND_SLABS; slab++)
        assert_int_equal(ground_begin(slabs, 1), slab);
    assert_int_equal(huge, 0);
}

static void with_small_pages_all_memory_asks_for_them(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->small_pages = true;
    forget_calls();
    assert_int_equal(ground_begin(slabs, 1), 1);
    if (FLI_HAVE_HUGE_PAGES)
        assert_int_equal(small, 1);
    begin_all(slabs, 2);
    assert_int_equal(huge, 0);
}

static void huge_pages_can_be_asked_for_from_the_start(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->huge_pages = slabs->huge_at_once = true;
    forget_calls();
    assert_int_equal(ground_begin(slabs, 1), 1);
    if (FLI_HAVE_HUGE_PAGES)
        assert_int_equal(huge, 1);
    begin_all(slabs, 2);
}

static void a_chunk_of_which_a_part_is_cold_has_small_pages_until_it_is_used_again(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { KEPT = 2 * FLI_CHUNK_SLABS + 7 };
    slabs->huge_pages = slabs->huge_at_once = true;
    forget_calls();
    begin_and_make_cold(slabs, 3 * FLI_CHUNK_SLABS, KEPT);
    if (FLI_HAVE_HUGE_PAGES)
        assert_int_equal(small, 1);
    forget_calls();
    for (uint32_t slab = 1; slab < 3 * FLI_CHUNK_SLABS; slab++)
        assert_true(ground_begin(slabs, 1) != 0);
    if (FLI_HAVE_HUGE_PAGES)
        assert_int_equal(huge, 1);
    assert_int_equal(fli_idle_cold_count(slabs), 0);
}

static void a_small_heap_asks_for_small_pages_once(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    slabs->huge_pages = true;
    forget_calls();
    for (unsigned round = 0; round < 3; round++) {
        uint32_t list = begin_and_retire(slabs, 1, begin_and_retire(slabs, 1, 0));
        assert_int_equal(fli_idle_make(slabs, list, 0), 2 * FLI_SLAB_BYTES);
    }
    assert_int_equal(decommits, 3);
    assert_int_equal(small, FLI_HAVE_HUGE_PAGES);
    assert_int_equal(huge, 0);
}

static void the_slabs_of_a_chunk_that_is_all_cold_get_warm_together(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { SLABS = 4 * FLI_CHUNK_SLABS };
    slabs->huge_pages = slabs->huge_at_once = true;
    begin_and_make_cold(slabs, SLABS, 0);
    assert_int_equal(ground_begin(slabs, 1), 1);
    assert_int_equal(slabs->warm_count, FLI_CHUNK_SLABS - 1);
    assert_int_equal(fli_idle_cold_count(slabs), SLABS - FLI_CHUNK_SLABS);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), FLI_CHUNK_BYTES);
    /* Where the limit has no room for all, one is taken. */
    begin_row(slabs, 2, FLI_CHUNK_SLABS, false);
    ground->limit.most = FLI_CHUNK_BYTES + FLI_SLAB_BYTES;
    assert_int_equal(ground_begin(slabs, 1), FLI_CHUNK_SLABS + 1);
    assert_int_equal(slabs->warm_count, 0);
    assert_int_equal(ground_begin(slabs, 1), 0);
}

/* ---- Strict overcommit. */

/* KiB of a line of a file in /proc; 0 if there is no such line. */
static size_t kib_of(const char *path, const char *key)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoul(line + strlen(key), NULL, 10);
    fclose(file);
    return kib;
}

static void cold_chunks_do_not_count_where_the_system_is_strict(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { SLABS = 8 * FLI_CHUNK_SLABS, KIB = SLABS * FLI_SLAB_BYTES / 1024 };
    size_t before = kib_of("/proc/self/status", "VmData:");
    slabs->strict = true;
    begin_and_make_cold(slabs, SLABS, 0);
    assert_true(kib_of("/proc/self/status", "VmData:") < before + KIB / 2);
    refuses = true;
    assert_int_equal(ground_begin(slabs, 1), 0);
    refuses = false;
    for (uint32_t slab = 1; slab <= SLABS; slab++) {
        assert_int_equal(ground_begin(slabs, 1), slab);
        if (!FLI_CHECKED) /* checked builds poison what nobody has allocated */
            assert_int_equal(*(fli_slab_start(slabs, slab) + 5), 0);
    }
    assert_int_equal(fli_idle_cold_count(slabs), 0);
}

static void committed_memory_falls_where_the_system_is_strict(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    if (!fli_os_is_strict()) {
        print_message("vm.overcommit_memory is not 2\n");
        skip();
    }
    slabs->strict = true;
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    uint32_t list = 0;
    for (uint32_t slab = 1; slab <= GROUND_SLABS; slab++)
        list = begin_and_retire(slabs, c, list);
    size_t before = kib_of("/proc/meminfo", "Committed_AS:");
    fli_idle_make(slabs, list, 0);
    assert_true(kib_of("/proc/meminfo", "Committed_AS:") < before);
}

/* The last chunk of the heap is half a chunk. It begins sparse, with lone slabs in the chunks before it, and slabs are
 * wanted in a dense one. */
static void no_slab_is_skipped_beyond_the_end_of_the_heap(void **state)
{
    (void)state;
    enum { SLABS = 5 * FLI_MIB / FLI_SLAB_BYTES, LONE = SLABS / 2 - FLI_CHUNK_SLABS / 8, SIZE = 16384 };
    struct bed bed = bed_with(&(struct fl_options){.reserve_bytes = 5 * FLI_MIB});
    void *lone[LONE + 1], *list = NULL, **block;
    for (unsigned c = 1; c <= LONE; c++) {
        lone[c] = fl_alloc(bed.thread, fli_class_bytes(c));
        assert_non_null(lone[c]);
    }
    while ((block = fl_alloc(bed.thread, SIZE)) != NULL) {
        memset(block, 1, SIZE);
        *block = list;
        list = block;
    }
    assert_int_equal(stats_of(bed.heap).slabs, SLABS);
    assert_sound(bed.heap);
    for (void *next; list != NULL; list = next) {
        next = *(void **)list;
        fl_free_sized(bed.thread, list, SIZE);
    }
    for (unsigned c = 1; c <= LONE; c++)
        fl_free_sized(bed.thread, lone[c], fli_class_bytes(c));
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUND_TEST(a_cold_slab_serves_another_class_from_zeroed_pages),
        GROUND_TEST(slabs_get_cold_in_runs_and_are_taken_lowest_first),
        GROUND_TEST(warm_slabs_keep_their_memory_and_are_the_next_to_be_used),
        GROUND_TEST(warm_slabs_beyond_what_may_be_warm_get_cold),
        GROUND_TEST(who_wants_a_row_finds_its_slabs_while_others_take_theirs),
        GROUND_TEST(what_was_skipped_serves_who_wants_any_slab),
        GROUND_TEST(no_more_than_a_quarter_is_skipped),
        GROUND_TEST(of_warm_slabs_the_one_that_is_wanted_is_taken),
        GROUND_TEST(all_but_the_first_few_slabs_lie_in_huge_pages),
        GROUND_TEST(lone_slabs_lie_in_small_pages_while_there_is_room),
        GROUND_TEST(a_lone_slab_is_one_until_it_is_idle),
        GROUND_TEST(small_pages_serve_where_the_limit_has_no_room_for_a_huge_one),
        GROUND_TEST(while_two_thirds_of_the_slabs_are_the_first_of_their_class_memory_has_small_pages),
        GROUND_TEST(the_first_chunk_asks_for_huge_pages_once_the_heap_has_grown),
        GROUND_TEST(a_first_chunk_that_was_trimmed_keeps_small_pages_when_the_heap_grows),
        GROUND_TEST(the_first_chunk_of_a_heap_that_has_shrunk_has_small_pages),
        GROUND_TEST(memory_is_committed_in_whole_chunks),
        GROUND_TEST(without_the_wish_for_huge_pages_none_are_asked_for),
        GROUND_TEST(with_small_pages_all_memory_asks_for_them),
        GROUND_TEST(huge_pages_can_be_asked_for_from_the_start),
        GROUND_TEST(cold_chunks_do_not_count_where_the_system_is_strict),
        GROUND_TEST(committed_memory_falls_where_the_system_is_strict),
        GROUND_TEST(a_chunk_of_which_a_part_is_cold_has_small_pages_until_it_is_used_again),
        GROUND_TEST(a_small_heap_asks_for_small_pages_once),
        GROUND_TEST(the_slabs_of_a_chunk_that_is_all_cold_get_warm_together),
        cmocka_unit_test(no_slab_is_skipped_beyond_the_end_of_the_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
