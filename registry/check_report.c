/* SPDX-License-Identifier: Apache-2.0
 * Reports for TTL checks; see check_report.h. */
#include "registry/check_report.h"

#include "base/wire.h"
#include "registry/check.h"
#include "registry/document.h"

enum { VERSION = 1, REPORT_SIZE_MIN = 2 * 4 };

/* --- the request ---------------------------------------------------------------------------------------- */

int check_report_read(struct slice text, struct arena *a, enum instance_state *ret_state,
                      struct slice *ret_output, char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct slice state = {0};
    *ret_output = (struct slice){0};
    *ret_state = INSTANCE_STATES;
    document_begin(&r, text);
    document_text(&r, "state", &state);
    document_text(&r, "output", ret_output);
    if (!state.size)
        document_refuse_last(&r, "state", "is missing: give up, warn or down");
    else if (instance_state_find(state, ret_state) ||
             (*ret_state != INSTANCE_UP && *ret_state != INSTANCE_WARN && *ret_state != INSTANCE_DOWN))
        document_refuse(&r, "state", "is not one of up, warn, down");
    if (ret_output->size > CHECK_OUTPUT_MAX)
        document_refuse(&r, "output", "is longer than 200 bytes");
    return document_end(&r);
}

/* --- messages ------------------------------------------------------------------------------------------- */

void check_report_write(const struct check_report *list, size_t count, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u32(out, count);
    for (size_t i = 0; i < count; i++) {
        wire_add_text(out, list[i].key);
        wire_add_text(out, slice_text(instance_state_name(list[i].state)));
    }
}

int check_report_read_question(struct slice question, struct check_report *list, size_t *ret_count)
{
    struct wire_reader r = wire_begin(question, VERSION);
    size_t count = wire_count(&r, REPORT_SIZE_MIN);
    if (count > CHECK_REPORTS_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < count; i++) {
        list[i].key = wire_text(&r);
        if (instance_state_find(wire_text(&r), &list[i].state) != OK)
            return ERR_MALFORMED;
    }
    *ret_count = count;
    return wire_end(&r);
}

void check_report_write_answer(const bool *are_held, size_t count, struct buf *out)
{
    buf_add_byte(out, VERSION);
    wire_add_u32(out, count);
    for (size_t i = 0; i < count; i++)
        buf_add_byte(out, are_held[i]);
}

int check_report_read_answer(struct slice answer, size_t count, bool *are_held)
{
    struct wire_reader r = wire_begin(answer, VERSION);
    if (wire_count(&r, 1) != count || count > CHECK_REPORTS_MAX || r.is_bad || r.rest.size != count)
        return ERR_MALFORMED;
    for (size_t i = 0; i < count; i++)
        are_held[i] = r.rest.data[i] == 1;
    return OK;
}
