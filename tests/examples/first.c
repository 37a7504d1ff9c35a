/* example: first.c */
#include <freelane/freelane.h>

#include <stdio.h>

struct number {
    double value;
}; /* an object of a host */

static struct fl_type number_type = {.name = "number", .size = sizeof(struct number), .kind = FL_DEALLOC_PLAIN};

int main(void)
{
    char error[256];
    if (fl_type_ready(&number_type, NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct fl_thread *thread = fl_thread_self();
    struct number *number = fl_type_alloc(thread, &number_type);
    if (number == NULL)
        return 1;
    number->value = 1.5;
    fl_dealloc(thread, number, &number_type); /* onto the thread's freelist: 9 instructions */
    return 0;
}
