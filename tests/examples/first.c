/* example: first.c */
#include <freelane/object.h>

#include <stdio.h>

struct node {
    struct fl_object head; /* a reference count, and the type */
    double value;
    struct node *next; /* the node has a reference to it */
};

/* Drops what a dead node refers to. */
static void drop(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct node *node = object;
    (void)type;
    if (node->next != NULL)
        fl_decref(thread, &node->next->head);
}

static struct fl_type node_type = {
    .name = "node", .size = sizeof(struct node), .kind = FL_DEALLOC_CLEAR, .clear = drop};

int main(void)
{
    char error[256];
    if (fl_object_type_ready(&node_type, NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct node *list = NULL;
    for (int i = 0; i < 1000000; i++) {
        struct node *node = (struct node *)fl_object_alloc(fl_thread_self(), &node_type);
        if (node == NULL)
            return 1;
        node->value = i;
        node->next = list;
        list = node;
    }
    fl_decref(fl_thread_self(), &list->head); /* a million nodes end in turn, the stack does not grow */
    return 0;
}
