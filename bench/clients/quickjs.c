/* SPDX-License-Identifier: MIT
 *
 * QuickJS, as its package has it: a runtime and a context per thread, with allocation functions that call the shim.
 * They count as QuickJS's own do, because its collector is paced by the count. FILE is a script that defines
 * `programs`, functions which work one round and return a number.
 */
#include "harness.h"

#include SHIM

#include <quickjs.h>

#include <stdio.h>
#include <stdlib.h>

struct state {
    JSRuntime *runtime;
    JSContext *context;
    JSValue program;
};

/* ---- Memory */

static void count(JSMallocState *memory, size_t before, size_t after)
{
    memory->malloc_count += (after != 0) - (before != 0);
    memory->malloc_size += after - before;
}

static void *allocate(JSMallocState *memory, size_t size)
{
    if (memory->malloc_size + size > memory->malloc_limit)
        return NULL;
    void *block = shim_alloc(memory->opaque, size);
    if (block != NULL)
        count(memory, 0, shim_usable_size_for(block, size));
    return block;
}

static void release(JSMallocState *memory, void *block)
{
    if (block == NULL)
        return;
    size_t size = shim_usable_size(block);
    count(memory, size, 0);
    shim_free_sized(memory->opaque, block, size);
}

static void *resize(JSMallocState *memory, void *block, size_t size)
{
    if (block == NULL)
        return size == 0 ? NULL : allocate(memory, size);
    if (size == 0) {
        release(memory, block);
        return NULL;
    }
    size_t before = shim_usable_size(block);
    if (memory->malloc_size - before + size > memory->malloc_limit)
        return NULL;
    void *moved = shim_resize(memory->opaque, block, before, size);
    if (moved != NULL)
        count(memory, before, shim_usable_size_for(moved, size));
    return moved;
}

static const JSMallocFunctions functions = {allocate, release, resize, shim_usable_size};

/* ---- Programs */

static char *read_file(const char *path, size_t *length)
{
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    if (file == NULL)
        fail("quickjs: there is no file %s", path != NULL ? path : "");
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *text = calloc(1, *length + 1);
    if (text == NULL || fread(text, 1, *length, file) != *length)
        fail("quickjs: %s cannot be read", path);
    fclose(file);
    return text;
}

static JSValue must(JSContext *context, JSValue value)
{
    if (!JS_IsException(value))
        return value;
    fail("quickjs: %s", JS_ToCString(context, JS_GetException(context)));
}

static void evaluate_file(JSContext *context, const char *path)
{
    size_t length;
    char *text = read_file(path, &length);
    JS_FreeValue(context, must(context, JS_Eval(context, text, length, path, JS_EVAL_TYPE_GLOBAL)));
    free(text);
}

static JSValue find_program(JSContext *context, const char *name)
{
    char text[64];
    int length = snprintf(text, sizeof text, "programs.%s", name);
    JSValue program = must(context, JS_Eval(context, text, (size_t)length, "program", JS_EVAL_TYPE_GLOBAL));
    if (!JS_IsFunction(context, program))
        fail("quickjs: there is no program %s", name);
    return program;
}

void *client_open(const char *program, const char *path, unsigned thread)
{
    (void)thread;
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        fail("quickjs: no state");
    state->runtime = JS_NewRuntime2(&functions, shim_open());
    state->context = state->runtime != NULL ? JS_NewContext(state->runtime) : NULL;
    if (state->context == NULL)
        fail("quickjs: no context");
    evaluate_file(state->context, path);
    state->program = find_program(state->context, program);
    return state;
}

uint64_t client_round(void *opaque)
{
    struct state *state = opaque;
    int64_t checksum = 0;
    JSValue result = must(state->context, JS_Call(state->context, state->program, JS_UNDEFINED, 0, NULL));
    JS_ToInt64(state->context, &checksum, result);
    JS_FreeValue(state->context, result);
    return (uint64_t)checksum;
}

void client_close(void *opaque)
{
    struct state *state = opaque;
    JS_FreeValue(state->context, state->program);
    JS_FreeContext(state->context);
    JS_FreeRuntime(state->runtime);
    free(state);
}
