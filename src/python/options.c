/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/options.h"

#include "base/os.h"
#include "heap/options.h"
#include "python/heap.h"

#include <stdlib.h>
#include <string.h>

#define RESERVE_DEFAULT (FLI_RARE_PATHS ? 64 * FLI_MIB : 256 * FLI_MIB)
#define RETAIN_DEFAULT  (FLI_PY_FREE_THREADED ? 64 * FLI_MIB : 32 * FLI_MIB)

static const char *const variable = "FREELANE_PYTHON_OPTIONS";

/* What fl_py_configure has said. */
static struct fl_py_options configured;

/* ---- Checking. */

/* The same as options of a heap. */
static struct fl_options as_heap_options(const struct fl_py_options *options)
{
    return (struct fl_options){.retain_bytes = options->retain_bytes,
                               .limit_bytes = options->limit_bytes,
                               .reserve_bytes = options->reserve_bytes};
}

static int check(const struct fl_py_options *options)
{
    char error[256];
    struct fl_options given = as_heap_options(options), resolved;
    if (fli_options_resolve(&given, &resolved, error, sizeof error) == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "freelane: %s", error);
    return -1;
}

int fl_py_configure(const struct fl_py_options *options)
{
    if (fli_py_heap_is_ready()) {
        PyErr_SetString(PyExc_RuntimeError, "freelane: fl_py_configure comes too late, a type is ready already");
        return -1;
    }
    if (check(options) < 0)
        return -1;
    configured = *options;
    return 0;
}

/* ---- The environment. */

/* Whether the text sets one of the heap's options that extensions have. */
static bool is_heap_option(const char *item)
{
    return strncmp(item, "reserve=", 8) == 0 || strncmp(item, "limit=", 6) == 0 || strncmp(item, "retain=", 7) == 0;
}

static int read_heap_option(const char *item, struct fl_py_options *options, char *error, size_t error_size)
{
    struct fl_options parsed = as_heap_options(options);
    if (fl_options_parse(item, &parsed, error, error_size) != 0)
        return -1;
    options->retain_bytes = parsed.retain_bytes;
    options->limit_bytes = parsed.limit_bytes;
    options->reserve_bytes = parsed.reserve_bytes;
    return 0;
}

/* Whether the text sets a switch to 0 or 1. Stores whether it is off then. */
static bool is_switch(const char *item, const char *name, bool *off)
{
    size_t length = strlen(name);
    if (strncmp(item, name, length) != 0 || (strcmp(item + length, "=0") != 0 && strcmp(item + length, "=1") != 0))
        return false;
    *off = item[length + 1] == '0';
    return true;
}

static int read_item(const char *item, struct fl_py_options *options, char *error, size_t error_size)
{
    if (is_heap_option(item))
        return read_heap_option(item, options, error, error_size);
    if (is_switch(item, "stops", &options->no_stops) || is_switch(item, "tools", &options->ignore_tools))
        return 0;
    (void)snprintf(error, error_size,
                   "unknown option '%s'; there are reserve, limit and retain, and stops and tools, 0 or 1", item);
    return -1;
}

/* Reads a list of options, which it takes apart. */
static int read_list(char *list, struct fl_py_options *options)
{
    char error[256];
    for (char *item; (item = strsep(&list, ",")) != NULL;)
        if (read_item(item, options, error, sizeof error) < 0) {
            PyErr_Format(PyExc_ValueError, "%s: %s", variable, error);
            return -1;
        }
    return 0;
}

static int read_environment(struct fl_py_options *options)
{
    const char *text = getenv(variable);
    if (text == NULL || *text == '\0')
        return 0;
    char *list = strdup(text);
    if (list == NULL)
        return PyErr_NoMemory(), -1;
    int failed = read_list(list, options);
    free(list);
    return failed;
}

/* ---- Defaults. */

/* So few that the heap takes a modest share of what the process may have. */
static size_t modest_reserve(void)
{
    size_t reserve = RESERVE_DEFAULT, share = fli_os_address_limit() / 64;
    while (reserve > FLI_RESERVE_MIN && reserve > share)
        reserve /= 2;
    return reserve;
}

int fli_py_options_get(struct fl_py_options *options)
{
    *options = configured;
    if (read_environment(options) < 0)
        return -1;
    if (options->retain_bytes == 0)
        options->retain_bytes = RETAIN_DEFAULT;
    if (options->limit_bytes == 0)
        options->limit_bytes = SIZE_MAX;
    if (options->reserve_bytes == 0)
        options->reserve_bytes = modest_reserve();
    return check(options);
}

#endif
