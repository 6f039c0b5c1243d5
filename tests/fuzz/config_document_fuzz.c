/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a configuration's head, release, draft and key. A document that can be read is written in its
 * canonical form, and that form reads and writes as the same bytes again. */
#include <assert.h>

#include "config/document.h"
#include "config/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND_TRIP(type)                                                                                     \
    static void type##_round_trip(struct slice text)                                                         \
    {                                                                                                        \
        struct arena a = {0};                                                                                \
        struct buf once = {0}, twice = {0};                                                                  \
        struct type first, second;                                                                           \
        char error[200];                                                                                     \
        int err = type##_read(text, &a, &first, error, sizeof error);                                        \
        assert(err == OK || err == ERR_MALFORMED || err == ERR_INVALID);                                     \
        if (!err) {                                                                                          \
            type##_write(&first, &once);                                                                     \
            err = type##_read(buf_slice(&once), &a, &second, error, sizeof error);                           \
            assert(err == OK);                                                                               \
            type##_write(&second, &twice);                                                                   \
            assert(slice_equal(buf_slice(&once), buf_slice(&twice)));                                        \
        }                                                                                                    \
        buf_done(&once);                                                                                     \
        buf_done(&twice);                                                                                    \
        arena_done(&a);                                                                                      \
    }

ROUND_TRIP(config_head)
ROUND_TRIP(config_release)
ROUND_TRIP(config_draft)

/* A long string that is read by itself equals the string that the parser of the whole gives. */
static void long_as_short(struct slice text)
{
    struct arena a = {0};
    struct slice content[2] = {{0}, {0}}, title[2] = {{0}, {0}};
    int err[2];
    char error[200];
    for (int i = 0; i < 2; i++) {
        struct document_reader r = document_reader_of(DOCUMENT_STRICT, &a, error, sizeof error);
        if (i)
            document_begin_long(&r, text, "content");
        else
            document_begin(&r, text);
        document_text(&r, "title", &title[i]);
        document_bytes(&r, "content", 1000, &content[i]);
        err[i] = document_end(&r);
    }
    assert(err[0] == err[1]);
    assert(err[0] || (slice_equal(content[0], content[1]) && slice_equal(title[0], title[1])));
    arena_done(&a);
}

static void key_round_trip(struct slice key)
{
    struct buf scratch = {0}, again = {0};
    struct config_name name;
    if (config_name_parse(key, &scratch, &name) == OK) {
        config_name_add_key(&again, &name);
        assert(slice_equal(key, buf_slice(&again)));
    }
    buf_done(&scratch);
    buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    config_head_round_trip(text);
    config_release_round_trip(text);
    config_draft_round_trip(text);
    key_round_trip(text);
    long_as_short(text);
    return 0;
}
