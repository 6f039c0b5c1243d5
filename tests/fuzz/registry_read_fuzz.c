/* SPDX-License-Identifier: Apache-2.0
 * What the registry reads of others' making: its keys, the documents in them and from clients, what members
 * ask each other. What is read is written, and reads the same again. */
#include <assert.h>
#include <stdlib.h>

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

static void survey(struct slice in)
{
    struct arena a = {0};
    struct buf out = {0};
    struct survey_question q;
    struct survey_answer answer;
    if (survey_read_question(in, &q) == OK) {
        survey_write_question(&q, &out);
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
    default:
        survey(in);
    }
    return 0;
}
