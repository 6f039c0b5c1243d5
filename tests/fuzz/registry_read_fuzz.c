/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: input of the registry that others write: its keys, the documents in them and from clients,
 * and queries between members. A document that can be read can be written and reads the same again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_lex.h"
#include "registry/check_report.h"
#include "registry/document.h"
#include "registry/name.h"
#include "registry/survey_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void name(struct slice in)
{
    struct buf scratch = {0}, key = {0};
    struct name n;
    if (name_parse(in, &scratch, &n) == OK) {
        name_add_key(&key, &n);
        assert(slice_equal(buf_slice(&key), in)); /* one name has one key */
    }
    buf_done(&scratch);
    buf_done(&key);
}

/* read(text) -> write -> read -> write: the two texts are one. */
#define DOCUMENT(type)                                                                                       \
    static void type##_document(struct slice in, enum document_reading how)                                  \
    {                                                                                                        \
        struct arena a = {0};                                                                                \
        struct buf first = {0}, second = {0};                                                                \
        struct type doc, again;                                                                              \
        char error[200] = "";                                                                                \
        int err = type##_read(in, how, &a, &doc, error, sizeof error);                                       \
        assert(!err || error[0]);                                                                            \
        if (!err) {                                                                                          \
            type##_write(&doc, &first);                                                                      \
            err = type##_read(buf_slice(&first), DOCUMENT_TOLERANT, &a, &again, error, sizeof error);        \
            assert(!err);                                                                                    \
            type##_write(&again, &second);                                                                   \
            assert(slice_equal(buf_slice(&first), buf_slice(&second)));                                      \
        }                                                                                                    \
        buf_done(&first);                                                                                    \
        buf_done(&second);                                                                                   \
        arena_done(&a);                                                                                      \
    }
DOCUMENT(instance)
DOCUMENT(override)
DOCUMENT(settings)
DOCUMENT(session)

/* An object of strings that is read apart is what the parser of the whole text gives. In a text that has room
 * for more strings than are allowed, another error may come first. Only the reader of the object apart has a limit of
 * values. */
static void map_apart(struct slice in, enum document_reading how)
{
    if (in.size > sizeof "\"\":\"\"" * 4096)
        return;
    struct arena a = {0};
    struct document_map map[2] = {{0}, {0}};
    int err[2];
    char error[2][200] = {"", ""};
    for (int i = 0; i < 2; i++) {
        struct document_reader r = document_reader_of(how, &a, error[i], sizeof error[i]);
        if (i)
            document_begin_map(&r, in, "metadata", 4096);
        else
            document_begin(&r, in);
        document_strings(&r, "metadata", 4096, 8192, &map[i]);
        err[i] = document_end(&r);
    }
    if (err[1] && strcmp(error[1], "the document has too many values") == 0) {
        assert(json_has_more_values(in, DOCUMENT_VALUES_MAX));
        arena_done(&a);
        return;
    }
    assert(err[0] == err[1] && strcmp(error[0], error[1]) == 0);
    assert(map[0].count == map[1].count);
    for (size_t i = 0; i < map[0].count; i++)
        assert(slice_equal(map[0].list[i].key, map[1].list[i].key) &&
               slice_equal(map[0].list[i].value, map[1].list[i].value));
    arena_done(&a);
}

static void survey(struct slice in)
{
    struct arena a = {0};
    struct buf out = {0};
    struct survey_request q;
    struct survey_answer answer;
    if (survey_read_request(in, &q) == OK) {
        survey_write_request(&q, &out);
        assert(slice_equal(buf_slice(&out), in));
    }
    buf_clear(&out);
    if (survey_read_answer(in, &a, &answer) == OK) {
        survey_write_answer(&answer, SIZE_MAX, &out);
        assert(slice_equal(buf_slice(&out), in));
        buf_clear(&out);
        survey_write_answer(&answer, in.size / 2, &out); /* cut short: still an answer */
        assert(survey_read_answer(buf_slice(&out), &a, &answer) == OK);
    }
    buf_done(&out);
    arena_done(&a);
}

/* Reports for TTL checks, of a client and between members. */
static void reports(struct slice in)
{
    static struct check_report list[CHECK_REPORTS_MAX];
    static bool held[CHECK_REPORTS_MAX];
    struct arena a = {0};
    struct buf out = {0};
    enum instance_state state;
    struct slice output;
    char error[200] = "";
    size_t count;
    int err = report_read(in, &a, &state, &output, error, sizeof error);
    assert(err ? error[0] != 0 : state < INSTANCE_STATES && output.size <= CHECK_OUTPUT_MAX);
    if (check_report_read_question(in, list, &count) == OK) {
        check_report_write(list, count, &out);
        assert(slice_equal(buf_slice(&out), in));
    }
    for (count = 0; count <= CHECK_REPORTS_MAX; count += 5)
        if (check_report_read_answer(in, count, held) == OK)
            assert(in.size == 1 + 4 + count);
    buf_done(&out);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    enum document_reading how = data[0] & 8 ? DOCUMENT_STRICT : DOCUMENT_TOLERANT;
    switch (data[0] % 8) {
    case 0:
        name(in);
        break;
    case 1:
        instance_document(in, how);
        map_apart(in, how);
        break;
    case 2:
        override_document(in, how);
        break;
    case 3:
        settings_document(in, how);
        break;
    case 4:
        session_document(in, how);
        break;
    case 7:
        reports(in);
        break;
    default:
        survey(in);
    }
    return 0;
}
