/* example: embed.c */
#include <freelane/freelane.h>

#include <pthread.h>
#include <stdlib.h>

/* The host's own object model: Freelane prescribes no header. */
struct object {
    const struct fl_type *type;
    size_t references;
};

struct number {
    struct object head;
    double value;
};

struct pair {
    struct object head;
    struct object *first, *second;
};

static void decref(struct fl_thread *thread, struct object *object)
{
    if (--object->references == 0)
        fl_dealloc(thread, object, object->type);
}

static void pair_clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct pair *pair = object;
    (void)type;
    decref(thread, pair->first);
    decref(thread, pair->second);
}

/* Plain memory: deallocation pushes the block and calls nothing. */
static struct fl_type number_type = {.name = "number", .size = sizeof(struct number), .kind = FL_DEALLOC_PLAIN};

/* Holds references: deallocation calls `clear`, then pushes the block. */
static struct fl_type pair_type = {
    .name = "pair", .size = sizeof(struct pair), .kind = FL_DEALLOC_CLEAR, .clear = pair_clear};

static struct object *new_object(struct fl_thread *thread, const struct fl_type *type)
{
    struct object *object = fl_type_alloc(thread, type);
    if (object != NULL)
        *object = (struct object){.type = type, .references = 1};
    return object;
}

static void *run_thread(void *heap)
{
    /* An interpreter keeps the handle in its own thread state. */
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL)
        return heap;
    for (int i = 0; i < 100000; i++) {
        struct number *a = (struct number *)new_object(thread, &number_type);
        struct number *b = (struct number *)new_object(thread, &number_type);
        struct pair *pair = (struct pair *)new_object(thread, &pair_type);
        if (a == NULL || b == NULL || pair == NULL)
            abort();
        a->value = i;
        b->value = -i;
        pair->first = &a->head;
        pair->second = &b->head;
        decref(thread, &pair->head);
    }
    fl_thread_detach(thread); /* left out, it happens when the thread exits */
    return NULL;
}

int main(void)
{
    char error[256];
    if (fl_type_ready(&number_type, NULL, error, sizeof error) != 0 ||
        fl_type_ready(&pair_type, NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct fl_options options = {.limit_bytes = (size_t)1 << 30};
    struct fl_heap *heap = fl_heap_create(&options, error, sizeof error);
    if (heap == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run_thread, heap) != 0)
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);

    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    printf("live blocks: %zu, pooled bytes: %zu\n", stats.live_blocks, stats.pooled_bytes);
    return stats.live_blocks != 0 || fl_heap_destroy(heap) != 0;
}
