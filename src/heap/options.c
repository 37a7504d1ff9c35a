/* SPDX-License-Identifier: MIT */
#include "heap/options.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/pile.h"
#include "memory/magazine.h"
#include "memory/slab.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define DEFER_DEFAULT (64 * FLI_MIB)

enum { STALL_SECONDS_DEFAULT = 10, DECAY_MS_DEFAULT = 1000 };

enum { MAGAZINE_BLOCKS_DEFAULT = FLI_RARE_PATHS ? 2 : FLI_MAGAZINE_SLOTS };

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Whether objects can be linked by the header as it says; complains if not. */
static int check_link(const struct fl_header *header, char *error, size_t error_size)
{
    const struct fl_header_link *link = &header->link;
    unsigned bits = (unsigned)__builtin_popcountll(link->bits);
    if (bits == 0)
        return 0;
    uint64_t twice = (link->bits & (link->others | link->stays)) | (link->stays & (link->others | link->after));
    if (bits < FLI_LINK_BITS)
        return fli_complain(-EINVAL, error, error_size, "option header links objects by %u bits, but a link takes %d",
                            bits, FLI_LINK_BITS);
    if (twice != 0)
        return fli_complain(-EINVAL, error, error_size,
                            "option header says twice what the bits 0x%llx of the word are that links objects",
                            (unsigned long long)twice);
    if (link->offset % sizeof(uint64_t) != 0 || header->bytes < 2 * sizeof(uint64_t) ||
        link->offset > header->bytes - 2 * sizeof(uint64_t))
        return fli_complain(
            -EINVAL, error, error_size,
            "option header links objects by the word at %u, which with the type's is none of its %u bytes",
            (unsigned)link->offset, (unsigned)header->bytes);
    return 0;
}

/* Whether the header of stale readers makes sense; complains if not. */
static int check_header(const struct fl_options *options, char *error, size_t error_size)
{
    const struct fl_header *header = options->header;
    if (header == NULL)
        return 0;
    if (options->grace == FL_GRACE_NONE)
        return fli_complain(-EINVAL, error, error_size,
                            "option header asks for stale readers, option grace for no grace periods");
    if (header->bytes == 0 || header->bytes > FL_BLOCK_MAX || header->words > FL_HEADER_WORDS_MAX)
        return fli_complain(-EINVAL, error, error_size,
                            "option header has %u bytes and clears %u words, they go from 1 to %d and from 0 to %d",
                            (unsigned)header->bytes, (unsigned)header->words, FL_BLOCK_MAX, FL_HEADER_WORDS_MAX);
    for (unsigned i = 0; i < header->words; i++) {
        struct fl_header_word word = header->clear[i];
        if (!is_power_of_two(word.size) || word.size > 8 || word.offset % word.size != 0 ||
            (size_t)word.offset + word.size > header->bytes)
            return fli_complain(-EINVAL, error, error_size,
                                "option header clears %u bytes at %u, which is no word of its %u bytes",
                                (unsigned)word.size, (unsigned)word.offset, (unsigned)header->bytes);
    }
    return check_link(header, error, error_size);
}

static int check_grace(const struct fl_options *options, char *error, size_t error_size)
{
    if ((unsigned)options->grace > FL_GRACE_HOST)
        return fli_complain(-EINVAL, error, error_size, "option grace is %u, it goes from 0 to %d",
                            (unsigned)options->grace, FL_GRACE_HOST);
    const struct fl_grace_host *host = options->grace_host;
    if (options->grace == FL_GRACE_HOST && (host == NULL || host->begin == NULL || host->elapsed == NULL))
        return fli_complain(-EINVAL, error, error_size,
                            "option grace is the host's own, but grace_host does not say how they begin and elapse");
    if (options->grace == FL_GRACE_HOST && options->decay_thread)
        return fli_complain(
            -EINVAL, error, error_size,
            "option decay_thread does not go with the host's own grace periods, which only its threads "
            "may ask for");
    return check_header(options, error, error_size);
}

int fli_options_resolve(const struct fl_options *given, struct fl_options *options, char *error, size_t error_size)
{
    struct fl_options resolved = given != NULL ? *given : (struct fl_options){0};
    if (resolved.reserve_bytes != 0 &&
        (resolved.reserve_bytes < FLI_RESERVE_MIN || resolved.reserve_bytes > FLI_RESERVE_MAX))
        return fli_complain(-EINVAL, error, error_size, "option reserve is %zu bytes, it goes from %zu to %zu",
                            resolved.reserve_bytes, FLI_RESERVE_MIN, FLI_RESERVE_MAX);
    if (resolved.magazine_blocks == 1 || resolved.magazine_blocks > FLI_MAGAZINE_SLOTS)
        return fli_complain(-EINVAL, error, error_size, "option magazine is %u blocks, it goes from 2 to %d",
                            resolved.magazine_blocks, FLI_MAGAZINE_SLOTS);
    if (resolved.limit_bytes != 0 && resolved.limit_bytes < FLI_SLAB_BYTES)
        return fli_complain(-EINVAL, error, error_size, "option limit is %zu bytes, less than a slab of %d",
                            resolved.limit_bytes, FLI_SLAB_BYTES);
    if ((unsigned)resolved.huge > FL_HUGE_NEVER)
        return fli_complain(-EINVAL, error, error_size, "option huge is %u, it goes from 0 to %d",
                            (unsigned)resolved.huge, FL_HUGE_NEVER);
    if ((unsigned)resolved.later > FL_LATER_ALL)
        return fli_complain(-EINVAL, error, error_size, "option later is %u, it goes from 0 to %d",
                            (unsigned)resolved.later, FL_LATER_ALL);
    if (check_grace(&resolved, error, error_size) != 0)
        return -EINVAL;
    if (resolved.defer_bytes == 0)
        resolved.defer_bytes = DEFER_DEFAULT;
    if (resolved.stall_seconds == 0)
        resolved.stall_seconds = STALL_SECONDS_DEFAULT;
    if (resolved.decay_ms == 0)
        resolved.decay_ms = DECAY_MS_DEFAULT;
    if (resolved.retain_bytes == 0)
        resolved.retain_bytes = FLI_RETAIN_DEFAULT;
    if (resolved.limit_bytes == 0)
        resolved.limit_bytes = SIZE_MAX;
    if (resolved.magazine_blocks == 0)
        resolved.magazine_blocks = MAGAZINE_BLOCKS_DEFAULT;
    *options = resolved;
    return 0;
}

/* ---- Options as text. */

/* A piece of the text. */
struct slice {
    const char *start;
    size_t length;
};

static bool slice_is(struct slice slice, const char *word)
{
    return slice.length == strlen(word) && memcmp(slice.start, word, slice.length) == 0;
}

/* Cuts off the text up to the first `end`, or all of it; `rest` then starts behind that. Returns whether `end` was
 * there. */
static bool cut(struct slice *rest, char end, struct slice *piece)
{
    const char *found = memchr(rest->start, end, rest->length);
    *piece = (struct slice){rest->start, found != NULL ? (size_t)(found - rest->start) : rest->length};
    size_t consumed = piece->length + (found != NULL);
    *rest = (struct slice){rest->start + consumed, rest->length - consumed};
    return found != NULL;
}

/* The power of 1024 that a suffix stands for, as a shift; -1 if it is none. */
static int suffix_shift(char suffix)
{
    switch (suffix) {
    case 'K':
    case 'k':
        return 10;
    case 'M':
    case 'm':
        return 20;
    case 'G':
    case 'g':
        return 30;
    case 'T':
    case 't':
        return 40;
    default:
        return -1;
    }
}

/* Reads a number with an optional suffix. Returns false if the text is anything else, or the number is too large. */
static bool read_bytes(struct slice text, size_t *value)
{
    int shift = 0;
    if (text.length > 1 && (shift = suffix_shift(text.start[text.length - 1])) >= 0)
        text.length--;
    else
        shift = 0;
    size_t number = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.start[i] < '0' || text.start[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (size_t)(text.start[i] - '0'), &number))
            return false;
    }
    *value = number << shift;
    return text.length > 0 && *value >> shift == number;
}

/* The values of an option that takes one of three names. The name's place here is the value of its enum. */
static const char *const grace_names[] = {"none", "qsbr", "bp"}, *const huge_names[] = {"default", "always", "never"},
                         *const later_names[] = {"none", "code", "all"};

/* Finds the value among three names. Returns its place; or -EINVAL with a message. */
static int find_name(const char *option, const char *const *names, struct slice value, char *error, size_t error_size)
{
    for (int i = 0; i < 3; i++)
        if (slice_is(value, names[i]))
            return i;
    return fli_complain(-EINVAL, error, error_size, "option '%s' has the value '%.*s'; it takes %s, %s or %s", option,
                        (int)value.length, value.start, names[0], names[1], names[2]);
}

static int set_grace(struct fl_options *options, struct slice value, char *error, size_t error_size)
{
    int place = find_name("grace", grace_names, value, error, error_size);
    if (place >= 0)
        options->grace = (enum fl_grace)place;
    return place < 0 ? place : 0;
}

static int set_huge(struct fl_options *options, struct slice value, char *error, size_t error_size)
{
    int place = find_name("huge", huge_names, value, error, error_size);
    if (place >= 0)
        options->huge = (enum fl_huge)place;
    return place < 0 ? place : 0;
}

static int set_later(struct fl_options *options, struct slice value, char *error, size_t error_size)
{
    int place = find_name("later", later_names, value, error, error_size);
    if (place >= 0)
        options->later = (enum fl_later)place;
    return place < 0 ? place : 0;
}

static int set(struct fl_options *options, struct slice key, struct slice value, char *error, size_t error_size)
{
    if (slice_is(key, "grace"))
        return set_grace(options, value, error, error_size);
    if (slice_is(key, "huge"))
        return set_huge(options, value, error, error_size);
    if (slice_is(key, "later"))
        return set_later(options, value, error, error_size);
    size_t number = 0;
    bool is_number = read_bytes(value, &number);
    if (slice_is(key, "stall") && number > UINT_MAX)
        return fli_complain(-EINVAL, error, error_size, "option stall is %zu seconds, more than %u", number,
                            UINT_MAX);
    if (slice_is(key, "decay") && number >= FL_DECAY_NEVER)
        return fli_complain(-EINVAL, error, error_size, "option decay is %zu milliseconds, it goes from 0 to %u",
                            number, FL_DECAY_NEVER - 1);
    if (slice_is(key, "magazine") && number > UINT_MAX)
        return fli_complain(-EINVAL, error, error_size, "option magazine is %zu blocks, it goes from 2 to %d", number,
                            FLI_MAGAZINE_SLOTS);
    if (slice_is(key, "reserve"))
        options->reserve_bytes = number;
    else if (slice_is(key, "retain"))
        options->retain_bytes = number;
    else if (slice_is(key, "limit"))
        options->limit_bytes = number;
    else if (slice_is(key, "magazine"))
        options->magazine_blocks = (unsigned)number;
    else if (slice_is(key, "defer"))
        options->defer_bytes = number;
    else if (slice_is(key, "decay"))
        options->decay_ms = number != 0 ? (unsigned)number : FL_DECAY_NEVER;
    else if (slice_is(key, "decay_thread"))
        options->decay_thread = number != 0;
    else if (slice_is(key, "hardened"))
        options->hardened = number != 0;
    else if (slice_is(key, "stall"))
        options->stall_seconds = (unsigned)number;
    else
        return fli_complain(-EINVAL, error, error_size,
                            "unknown option '%.*s'; there are reserve, retain, limit, decay, decay_thread, magazine, "
                            "grace, defer, stall, huge, later and hardened",
                            (int)key.length, key.start);
    if (!is_number)
        return fli_complain(-EINVAL, error, error_size,
                            "option '%.*s' has the value '%.*s'; it takes a number, with an optional K, M, G or T",
                            (int)key.length, key.start, (int)value.length, value.start);
    return 0;
}

int fl_options_parse(const char *text, struct fl_options *options, char *error, size_t error_size)
{
    struct fl_options parsed = *options, resolved;
    struct slice rest = {text, strlen(text)}, item, key;
    bool more = rest.length > 0;
    while (more) {
        more = cut(&rest, ',', &item);
        struct slice whole_item = item;
        if (!cut(&item, '=', &key))
            return fli_complain(-EINVAL, error, error_size, "'%.*s' is not of the form option=value",
                                (int)whole_item.length, whole_item.start);
        if (set(&parsed, key, item, error, error_size) != 0)
            return -EINVAL;
    }
    if (fli_options_resolve(&parsed, &resolved, error, error_size) != 0)
        return -EINVAL;
    *options = parsed;
    fli_watch_wrote(options, sizeof *options);
    return 0;
}
