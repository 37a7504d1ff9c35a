/* SPDX-License-Identifier: MIT */
#include "objects/number.h"

struct class integer_class = {.type = {.name = "integer", .size = sizeof(struct integer), .kind = MEMORY_PLAIN},
                              .shape = SHAPE_INTEGER};
struct class real_class = {.type = {.name = "real", .size = sizeof(struct real), .kind = MEMORY_PLAIN},
                           .shape = SHAPE_REAL};
struct integer small_integers[SMALL_MOST - SMALL_LEAST + 1];

void numbers_open(void)
{
    memory_type_ready(&integer_class.type);
    memory_type_ready(&real_class.type);
    for (int i = SMALL_LEAST; i <= SMALL_MOST; i++)
        small_integers[i - SMALL_LEAST] = (struct integer){OBJECT_IMMORTAL(&integer_class.type), i};
}

object_t *integer_box(lane_t *lane, int64_t value)
{
    struct integer *made = (struct integer *)object_new(lane, &integer_class.type);
    made->value = value;
    return &made->head;
}

double real_require(const object_t *self)
{
    if (is_real(self))
        return ((const struct real *)self)->value;
    return (double)integer_require(self);
}

int number_compare(const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b)) {
        int64_t left = integer_value(a), right = integer_value(b);
        return (left > right) - (left < right);
    }
    double left = real_require(a), right = real_require(b);
    return (left > right) - (left < right);
}
