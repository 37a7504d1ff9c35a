/* example: collect.c */
#include <freelane/freelane.h>

#include <stdlib.h>

struct cell {
    const char *type;
    struct cell *marked; /* a list of cells that are reachable; the last one names itself */
    void *words[2];
};

struct collector {
    struct fl_heap *heap;
    struct cell *reached; /* those to look into; NULL ends the list */
    struct cell *dead[16];
    unsigned count;
};

/* Marks the block around a word, if there is one: any word may be a pointer, also into a block. */
static void mark(struct collector *collector, const void *word)
{
    struct fl_block block;
    if (!fl_block_at(collector->heap, word, &block) || block.state != FL_BLOCK_LIVE)
        return;
    struct cell *cell = block.start;
    if (cell->marked != NULL)
        return;
    cell->marked = collector->reached != NULL ? collector->reached : cell;
    collector->reached = cell;
}

static void mark_all(struct collector *collector, void *const *roots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mark(collector, roots[i]);
    while (collector->reached != NULL) {
        struct cell *cell = collector->reached;
        collector->reached = cell->marked != cell ? cell->marked : NULL;
        mark(collector, cell->words[0]);
        mark(collector, cell->words[1]);
    }
}

/* Nothing may be freed during the walk, so a collector notes what is dead. */
static bool note_dead(void *context, const struct fl_block *block)
{
    struct collector *collector = context;
    struct cell *cell = block->start;
    if (cell->marked == NULL)
        collector->dead[collector->count++] = cell;
    cell->marked = NULL;
    return collector->count < 16;
}

static const char *type_of(void *context, const struct fl_block *block)
{
    (void)context;
    return ((const struct cell *)block->start)->type;
}

static struct cell *new_cell(struct fl_thread *thread, void *first, void *second)
{
    struct cell *cell = fl_alloc(thread, sizeof *cell);
    if (cell == NULL)
        abort();
    *cell = (struct cell){.type = "cell", .words = {first, second}};
    return cell;
}

int main(void)
{
    struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    if (thread == NULL)
        return 1;
    struct cell *inner = new_cell(thread, NULL, NULL), *cycle = new_cell(thread, NULL, NULL);
    struct cell *outer = new_cell(thread, (char *)inner + 8, (void *)42);
    cycle->words[0] = cycle; /* nobody else has it */
    void *roots[] = {outer};

    /* The host stops the world here. */
    struct collector collector = {.heap = heap};
    struct fl_census *census;
    if (fl_heap_walk_begin(heap) != 0)
        return 1;
    int failed = fl_census_take(heap, type_of, NULL, &census);
    mark_all(&collector, roots, 1);
    fl_heap_walk(heap, note_dead, &collector);
    fl_heap_walk_end(heap);
    /* The world goes on. */

    bool is_right = failed == 0 && collector.count == 1 && collector.dead[0] == cycle;
    while (collector.count > 0)
        fl_free(thread, collector.dead[--collector.count]);
    if (failed == 0)
        fl_census_print(census, stdout, FL_STATS_TEXT); /* 3 cells, 96 bytes */
    fl_census_free(failed == 0 ? census : NULL);
    fl_thread_detach(thread);
    fl_heap_destroy(heap);
    return is_right ? 0 : 1;
}
