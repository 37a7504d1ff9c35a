/* example: readers.c */
#include <freelane/freelane.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SLOTS = 64, READERS = 2, ROUNDS = 20000 };

struct number {
    long value, negated;
};

static struct fl_type number_type = {.name = "number", .size = sizeof(struct number), .kind = FL_DEALLOC_PLAIN};
static _Atomic(struct number *) table[SLOTS]; /* a container that is read without a lock */
static atomic_bool done;

static struct number *new_number(struct fl_thread *thread, long value)
{
    struct number *number = fl_type_alloc(thread, &number_type);
    if (number == NULL)
        abort();
    *number = (struct number){.value = value, .negated = -value};
    return number;
}

static void *read_table(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL)
        return heap;
    void *torn = NULL;
    const unsigned char *pressure = fl_heap_pressure(heap);
    for (long i = 0; !atomic_load(&done); i++) { /* the eval loop */
        struct number *number = atomic_load_explicit(&table[i % SLOTS], memory_order_acquire);
        if (number->value + number->negated != 0) /* it may have been replaced, but not reused */
            torn = heap;
        if (i % 100 == 0 || __atomic_load_n(pressure, __ATOMIC_RELAXED)) /* its breaker: no pointer is held here */
            fl_quiescent(thread);
    }
    fl_thread_offline(thread); /* around what blocks */
    fl_thread_online(thread);
    fl_thread_detach(thread);
    return torn;
}

int main(void)
{
    char error[256];
    struct fl_options options = {.grace = FL_GRACE_QSBR};
    struct fl_heap *heap = fl_heap_create(&options, error, sizeof error);
    if (heap == NULL || fl_type_ready(&number_type, NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL)
        return 1;
    for (int i = 0; i < SLOTS; i++)
        atomic_store(&table[i], new_number(thread, i));
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++)
        if (pthread_create(&readers[i], NULL, read_table, heap) != 0)
            return 1;
    for (long i = 0; i < ROUNDS; i++) {
        struct number *old = atomic_exchange(&table[i % SLOTS], new_number(thread, i));
        fl_dealloc_deferred(thread, old, &number_type);
        if (i % 100 == 0)
            fl_quiescent(thread);
    }
    atomic_store(&done, true);
    int failed = fl_heap_barrier(heap); /* waits until all of it is free; the readers pass quiescent states or go */
    for (int i = 0; i < READERS; i++) {
        void *torn;
        fl_thread_offline(thread); /* joining blocks */
        pthread_join(readers[i], &torn);
        fl_thread_online(thread);
        failed |= torn != NULL;
    }
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    printf("deferred bytes: %zu, grace periods: %zu\n", stats.deferred_bytes, (size_t)stats.grace_periods);
    fl_thread_detach(thread);
    return failed != 0 || stats.deferred_bytes != 0 || fl_heap_destroy(heap) != 0;
}
