/* SPDX-License-Identifier: MIT
 *
 * What jansson's source calls after jansson_typed.py has changed it. Included at the end of its private header.
 *
 * Each kind of value is a type of Freelane, on the default heap: integers and reals are PLAIN, strings, arrays and
 * objects CLEAR.
 */
#ifndef FREELANE_CLIENTS_JANSSON_TYPED_H
#define FREELANE_CLIENTS_JANSSON_TYPED_H

#include <freelane/freelane.h>

/* By enum json_type. They are ready before main begins. */
extern struct fl_type typed_types[];

static inline void *typed_alloc(json_type type)
{
    return fl_type_alloc(fl_thread_self(), &typed_types[type]);
}

/* Frees a value whose construction failed. */
static inline void typed_free(void *value, json_type type)
{
    fl_type_free(fl_thread_self(), value, &typed_types[type]);
}

#endif
