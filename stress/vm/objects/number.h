/* SPDX-License-Identifier: MIT
 *
 * Integers of 64 bits, which wrap, and reals. Both are boxed and PLAIN: their end pushes a block and calls nothing.
 * Small integers are static and immortal.
 */
#ifndef VM_NUMBER_H
#define VM_NUMBER_H

#include "objects/object.h"

struct integer {
    object_t head;
    int64_t value;
};

struct real {
    object_t head;
    double value;
};

enum { SMALL_LEAST = -8, SMALL_MOST = 256 };

extern struct class integer_class, real_class;
extern struct integer small_integers[SMALL_MOST - SMALL_LEAST + 1];

void numbers_open(void);

static inline bool is_integer(const object_t *self)
{
    return self->type == &integer_class.type;
}

static inline bool is_real(const object_t *self)
{
    return self->type == &real_class.type;
}

static inline bool is_number(const object_t *self)
{
    return is_integer(self) || is_real(self);
}

/* A small integer, without a reference; NULL if the value is not small. */
static inline object_t *small_integer(int64_t value)
{
    bool is_small = value >= SMALL_LEAST && value <= SMALL_MOST;
    return is_small ? &small_integers[value - SMALL_LEAST].head : NULL;
}

/* An object for an integer that is not small. */
object_t *integer_box(lane_t *lane, int64_t value);

static inline object_t *integer_new(lane_t *lane, int64_t value)
{
    object_t *small = small_integer(value);
    if (small != NULL) {
        object_incref(lane, small);
        return small;
    }
    return integer_box(lane, value);
}

static inline object_t *real_new(lane_t *lane, double value)
{
    struct real *made = (struct real *)object_new(lane, &real_class.type);
    made->value = value;
    return &made->head;
}

/* The value of what is known to be an integer. */
static inline int64_t integer_value(const object_t *self)
{
    return ((const struct integer *)self)->value;
}

/* The same; fails if it is none. */
static inline int64_t integer_require(const object_t *self)
{
    if (!is_integer(self))
        object_complain(self, SHAPE_INTEGER);
    return integer_value(self);
}

/* Everything but none and 0 is true. */
static inline bool object_is_true(const object_t *self)
{
    return is_integer(self) ? integer_value(self) != 0 : self != &none;
}

/* The value of a number as a real; fails if it is no number. */
double real_require(const object_t *self);

/* Less than, equal to or greater than 0, as a is to b. Fails for what is no number. */
int number_compare(const object_t *a, const object_t *b);

#endif
