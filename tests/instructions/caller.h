/* SPDX-License-Identifier: MIT */
#ifndef FREELANE_CALLER_H
#define FREELANE_CALLER_H

#include <freelane/object.h>

enum { CALLER_BLOCK_BYTES = 48 };

void *caller_alloc(struct fl_thread *thread);
void caller_free_sized(struct fl_thread *thread, void *block);
void *caller_type_alloc(struct fl_thread *thread, const struct fl_type *type);
void caller_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type);
void caller_dealloc_tagged(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag);
void caller_free_deferred(struct fl_thread *thread, void *block);
void caller_dealloc_deferred(struct fl_thread *thread, void *object, const struct fl_type *type);
void caller_destroy(struct fl_thread *thread, void *object, const struct fl_type *type);
void caller_queue(struct fl_thread *thread, void *object, const struct fl_type *type);
void caller_run_pending(struct fl_thread *thread);
struct fl_object *caller_object_alloc(struct fl_thread *thread, const struct fl_type *type);
void caller_incref(struct fl_thread *thread, struct fl_object *object);
void caller_decref(struct fl_thread *thread, struct fl_object *object);
void caller_decref_last(struct fl_thread *thread, struct fl_object *object);
struct fl_object *caller_renew(struct fl_thread *thread, const struct fl_type *type);
void caller_keep(struct fl_thread *thread, struct fl_object *object);

#endif
