/* example: first.c */
#include <freelane/freelane.h>

#include <stdio.h>

struct node {
    double value;
    struct node *next; /* the node owns a reference to it */
};                     /* an object of a host */

/* Drops what a dead node owns. Here every node has one reference, so dropping it is the end of the next node. */
static void drop(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = object;
    if (node->next != NULL)
        fl_dealloc(thread, node->next, type);
}

static struct fl_type node_type = {
    .name = "node", .size = sizeof(struct node), .kind = FL_DEALLOC_CLEAR, .clear = drop};

int main(void)
{
    char error[256];
    if (fl_type_ready(&node_type, NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct node *list = NULL;
    for (int i = 0; i < 10000000; i++) {
        struct node *node = fl_type_alloc(fl_thread_self(), &node_type);
        if (node == NULL)
            return 1;
        *node = (struct node){.value = i, .next = list};
        list = node;
    }
    fl_dealloc(fl_thread_self(), list, &node_type); /* ten million nodes end in turn, the stack does not grow */
    return 0;
}
