/* SPDX-License-Identifier: MIT */
#include "objects/object.h"
#include "objects/closure.h"
#include "objects/dict.h"
#include "objects/handle.h"
#include "objects/list.h"
#include "objects/number.h"
#include "objects/string.h"
#include "objects/thread.h"
#include "objects/tuple.h"

static struct class none_class = {.type = {.name = "none", .size = sizeof(object_t), .kind = MEMORY_PLAIN},
                                  .shape = SHAPE_NONE};
object_t none = OBJECT_IMMORTAL(&none_class.type);

void objects_open(void)
{
    memory_type_ready(&none_class.type);
    numbers_open();
    strings_open();
    tuples_open();
    lists_open();
    dicts_open();
    closures_open();
    handles_open();
    threads_open();
}

void object_complain(const object_t *self, enum shape shape)
{
    static const char *const names[] = {"none",   "an integer", "a real",   "a string", "a tuple", "a list",
                                        "a dict", "a closure",  "a handle", "a thread", "a part"};
    fail("a %s is not %s", self->type->name, names[shape]);
}

bool object_equal(const object_t *a, const object_t *b)
{
    if (a == b)
        return true;
    if (is_number(a) && is_number(b))
        return number_compare(a, b) == 0;
    return shape_of(a) == SHAPE_STRING && shape_of(b) == SHAPE_STRING && string_equal(a, b);
}

uint64_t object_hash(const object_t *self)
{
    if (shape_of(self) == SHAPE_STRING)
        return string_hash(self);
    object_require(self, SHAPE_INTEGER);
    uint64_t mixed = (uint64_t)integer_value(self) * 0x9e3779b97f4a7c15u;
    return mixed ^ mixed >> 32;
}
