/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <limits.h>

#include "heap/options.h"
#include "memory/magazine.h"

static void accepted(const char *text, struct fl_options expected)
{
    char error[256] = "";
    struct fl_options options = {0};
    if (fl_options_parse(text, &options, error, sizeof error) != 0)
        fail_msg("\"%s\": %s", text, error);
    assert_int_equal(options.reserve_bytes, expected.reserve_bytes);
    assert_int_equal(options.retain_bytes, expected.retain_bytes);
    assert_int_equal(options.limit_bytes, expected.limit_bytes);
    assert_int_equal(options.magazine_blocks, expected.magazine_blocks);
    assert_int_equal(options.grace, expected.grace);
    assert_int_equal(options.defer_bytes, expected.defer_bytes);
    assert_int_equal(options.stall_seconds, expected.stall_seconds);
    assert_int_equal(options.huge, expected.huge);
    assert_int_equal(options.later, expected.later);
}

static void every_option_is_read_in_any_order_with_any_suffix(void **state)
{
    (void)state;
    accepted("", (struct fl_options){0});
    accepted("retain=64M", (struct fl_options){.retain_bytes = 64 * FLI_MIB});
    accepted("retain=64M,limit=2G,reserve=16G,magazine=64", (struct fl_options){.reserve_bytes = 16 * FLI_GIB,
                                                                                .retain_bytes = 64 * FLI_MIB,
                                                                                .limit_bytes = 2 * FLI_GIB,
                                                                                .magazine_blocks = 64});
    accepted("magazine=2,reserve=1T", (struct fl_options){.reserve_bytes = 1024 * FLI_GIB, .magazine_blocks = 2});
    accepted("limit=65536", (struct fl_options){.limit_bytes = 65536});
    accepted("limit=64k,retain=1g", (struct fl_options){.limit_bytes = 65536, .retain_bytes = FLI_GIB});
    accepted("retain=18446744073709551615", (struct fl_options){.retain_bytes = SIZE_MAX});
    accepted("retain=16777215T", (struct fl_options){.retain_bytes = (size_t)16777215 << 40});
    accepted("retain=1,retain=2", (struct fl_options){.retain_bytes = 2});
    accepted("huge=always", (struct fl_options){.huge = FL_HUGE_ALWAYS});
    accepted("huge=never", (struct fl_options){.huge = FL_HUGE_NEVER});
    accepted("huge=never,huge=default", (struct fl_options){0});
    accepted("later=code", (struct fl_options){.later = FL_LATER_CODE});
    accepted("later=all", (struct fl_options){.later = FL_LATER_ALL});
    accepted("later=all,later=none", (struct fl_options){0});
    accepted("grace=bp", (struct fl_options){.grace = FL_GRACE_BP});
    accepted("grace=qsbr,defer=16M,stall=5",
             (struct fl_options){.grace = FL_GRACE_QSBR, .defer_bytes = 16 * FLI_MIB, .stall_seconds = 5});
    accepted("stall=0,defer=0,grace=bp,grace=none", (struct fl_options){0});
    accepted("stall=4294967295,defer=1", (struct fl_options){.stall_seconds = UINT_MAX, .defer_bytes = 1});
    accepted("magazine=252,limit=0", (struct fl_options){.magazine_blocks = 252});
}

static void fields_that_are_not_named_keep_their_values(void **state)
{
    (void)state;
    struct fl_options options = {.retain_bytes = 5, .magazine_blocks = 7, .context = &options};
    assert_int_equal(fl_options_parse("limit=1M", &options, NULL, 0), 0);
    assert_int_equal(options.retain_bytes, 5);
    assert_int_equal(options.magazine_blocks, 7);
    assert_int_equal(options.limit_bytes, FLI_MIB);
    assert_ptr_equal(options.context, &options);
}

static void malformed_text_is_refused_naming_the_culprit(void **state)
{
    (void)state;
    static const struct {
        const char *text, *culprit;
    } cases[] = {
        {"bogus=1", "'bogus'"},
        {"retain=64M,bogus=1", "'bogus'"},
        {"Retain=1", "'Retain'"},
        {" retain=1", "' retain'"},
        {"=1", "''"},
        {"retain", "'retain'"},
        {"retain=1,", "''"},
        {",retain=1", "''"},
        {"retain=1,,limit=1M", "''"},
        {"retain=", "'retain'"},
        {"retain=x", "'x'"},
        {"retain=M", "'M'"},
        {"retain=-1", "'-1'"},
        {"retain=+1", "'+1'"},
        {"retain=1.5M", "'1.5M'"},
        {"retain=64MB", "'64MB'"},
        {"retain=64 M", "'64 M'"},
        {"retain=0x10", "'0x10'"},
        {"retain=1=2", "'1=2'"},
        {"retain=18446744073709551616", "'18446744073709551616'"},
        {"retain=16777216T", "'16777216T'"},
        {"retain=99999999999999999999999999999999", "retain"},
        {"magazine=1", "magazine"},
        {"magazine=1000", "magazine"},
        {"magazine=4294967298", "magazine"},
        {"magazine=x", "'x'"},
        {"reserve=1", "reserve"},
        {"reserve=4095K", "reserve"},
        {"reserve=2T", "reserve"},
        {"limit=1", "limit"},
        {"limit=65535", "limit"},
        {"retain=1;limit=1M", "'1;limit=1M'"},
        {"grace=", "'grace' has the value ''"},
        {"grace=rcu", "'rcu'; it takes none, qsbr or bp"},
        {"grace=host", "'host'"},
        {"grace=1", "'1'"},
        {"grace=QSBR", "'QSBR'"},
        {"huge=2", "'2'; it takes default, always or never"},
        {"later=1", "'1'; it takes none, code or all"},
        {"defer=x", "'defer' has the value 'x'"},
        {"stall=", "'stall' has the value ''"},
        {"stall=4294967296", "stall"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char error[256] = "";
        struct fl_options options = {.retain_bytes = 3, .magazine_blocks = 9}, before;
        memcpy(&before, &options, sizeof options); /* padding included */
        if (fl_options_parse(cases[i].text, &options, error, sizeof error) != -EINVAL)
            fail_msg("\"%s\" is not refused", cases[i].text);
        assert_contains(error, cases[i].culprit);
        assert_memory_equal(&options, &before, sizeof options);
    }
}

static void a_message_is_cut_to_its_buffer_and_may_be_left_out(void **state)
{
    (void)state;
    struct fl_options options = {0};
    char error[10];
    memset(error, 'x', sizeof error);
    assert_int_equal(fl_options_parse("bogus=1", &options, error, 5), -EINVAL);
    assert_int_equal(strlen(error), 4);
    assert_int_equal(error[5], 'x');
    assert_int_equal(fl_options_parse("bogus=1", &options, error, 0), -EINVAL);
    assert_int_equal(fl_options_parse("bogus=1", &options, NULL, 0), -EINVAL);

    char *text = calloc(1, 100001);
    memset(text, 'k', 100000);
    assert_int_equal(fl_options_parse(text, &options, error, sizeof error), -EINVAL);
    free(text);
}

static void zero_in_every_field_is_the_default(void **state)
{
    (void)state;
    struct fl_options resolved;
    assert_int_equal(fli_options_resolve(NULL, &resolved, NULL, 0), 0);
    assert_int_equal(resolved.reserve_bytes, 0); /* settled when address space is reserved */
    assert_int_equal(resolved.retain_bytes, 256 * FLI_MIB);
    assert_int_equal(resolved.limit_bytes, SIZE_MAX);
    assert_int_equal(resolved.magazine_blocks, FLI_RARE_PATHS ? 2 : FLI_MAGAZINE_SLOTS);
    struct fl_options zero = {0}, again;
    assert_int_equal(fli_options_resolve(&zero, &again, NULL, 0), 0);
    assert_int_equal(again.retain_bytes, resolved.retain_bytes);
    assert_int_equal(again.limit_bytes, resolved.limit_bytes);
    assert_int_equal(again.magazine_blocks, resolved.magazine_blocks);
    assert_int_equal(again.grace, FL_GRACE_NONE);
    assert_null(again.header);
    assert_int_equal(again.defer_bytes, 64 * FLI_MIB);
    assert_int_equal(again.stall_seconds, 10);
}

static int64_t begin(void *context)
{
    (void)context;
    return 1;
}

static bool elapsed(void *context, int64_t token)
{
    (void)context, (void)token;
    return true;
}

/* A heap cannot be made with the options, for a reason that names the culprit. */
static void refused(struct fl_options options, const char *culprit)
{
    char error[256] = "";
    errno = 0;
    assert_null(fl_heap_create(&options, error, sizeof error));
    assert_int_equal(errno, EINVAL);
    assert_contains(error, culprit);
}

static void grace_periods_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    const struct fl_grace_host whole = {.begin = begin, .elapsed = elapsed}, no_begin = {.elapsed = elapsed},
                               no_elapsed = {.begin = begin};
    refused((struct fl_options){.grace = (enum fl_grace)4}, "grace is 4");
    refused((struct fl_options){.grace = FL_GRACE_HOST}, "grace_host");
    refused((struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &no_begin}, "grace_host");
    refused((struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &no_elapsed}, "grace_host");
    end_heap(heap_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &whole}));
    /* Only the host's threads may ask for these. */
    refused((struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &whole, .decay_thread = true}, "decay_thread");
}

static void headers_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct fl_header header;
        const char *culprit;
    } cases[] = {
        {{.bytes = 0}, "0 bytes"},
        {{.bytes = FL_BLOCK_MAX + 1}, "32769 bytes"},
        {{.bytes = 64, .words = FL_HEADER_WORDS_MAX + 1}, "clears 9 words"},
        {{.bytes = 64, .words = 1, .clear = {{0, 3}}}, "clears 3 bytes at 0"},
        {{.bytes = 64, .words = 1, .clear = {{0, 0}}}, "clears 0 bytes at 0"},
        {{.bytes = 64, .words = 1, .clear = {{0, 16}}}, "clears 16 bytes at 0"},
        {{.bytes = 64, .words = 2, .clear = {{0, 8}, {4, 8}}}, "clears 8 bytes at 4"},
        {{.bytes = 16, .words = 1, .clear = {{16, 1}}}, "clears 1 bytes at 16"},
        {{.bytes = 15, .words = 1, .clear = {{8, 8}}}, "clears 8 bytes at 8"},
        {{.bytes = 64, .link = {.bits = (1ull << 47) - 1}}, "links objects by 47 bits"},
        {{.bytes = 64, .link = {.bits = (1ull << 48) - 1, .others = 1}}, "twice what the bits 0x1 "},
        {{.bytes = 64, .link = {.bits = (1ull << 48) - 1, .stays = 2}}, "twice what the bits 0x2 "},
        {{.bytes = 64, .link = {.bits = (1ull << 48) - 1, .others = 3ull << 60, .stays = 1ull << 60}},
         "twice what the bits 0x1000000000000000 "},
        {{.bytes = 64, .link = {.bits = (1ull << 48) - 1, .after = 1ull << 50, .stays = 1ull << 50}},
         "twice what the bits 0x4000000000000 "},
        {{.bytes = 64, .link = {.bits = ~0ull, .offset = 4}}, "by the word at 4"},
        {{.bytes = 64, .link = {.bits = ~0ull, .offset = 56}}, "by the word at 56"},
        {{.bytes = 8, .link = {.bits = ~0ull}}, "none of its 8 bytes"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        refused((struct fl_options){.grace = FL_GRACE_BP, .header = &cases[i].header}, cases[i].culprit);
    static const struct fl_header fine = {
        .bytes = 64,
        .words = 8,
        .clear = {{0, 8}, {8, 4}, {12, 2}, {14, 1}, {15, 1}, {16, 8}, {24, 8}, {56, 8}},
        .link = {.bits = (1ull << 48) - 1, .others = 1ull << 63, .after = 1, .stays = 1ull << 62, .offset = 48}};
    end_heap(heap_with(&(struct fl_options){.grace = FL_GRACE_BP, .header = &fine}));
    refused((struct fl_options){.header = &fine}, "option grace for no grace periods");
}

static void a_magazine_may_have_2_blocks_to_as_many_as_fit(void **state)
{
    (void)state;
    struct fl_options resolved, options = {.magazine_blocks = 2};
    assert_int_equal(fli_options_resolve(&options, &resolved, NULL, 0), 0);
    options.magazine_blocks = FLI_MAGAZINE_SLOTS;
    assert_int_equal(fli_options_resolve(&options, &resolved, NULL, 0), 0);
    options.magazine_blocks = FLI_MAGAZINE_SLOTS + 1;
    assert_int_equal(fli_options_resolve(&options, &resolved, NULL, 0), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_is_read_in_any_order_with_any_suffix),
        cmocka_unit_test(fields_that_are_not_named_keep_their_values),
        cmocka_unit_test(malformed_text_is_refused_naming_the_culprit),
        cmocka_unit_test(a_message_is_cut_to_its_buffer_and_may_be_left_out),
        cmocka_unit_test(zero_in_every_field_is_the_default),
        cmocka_unit_test(grace_periods_that_make_no_sense_are_refused),
        cmocka_unit_test(headers_that_make_no_sense_are_refused),
        cmocka_unit_test(a_magazine_may_have_2_blocks_to_as_many_as_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
