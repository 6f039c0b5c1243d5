/* SPDX-License-Identifier: Apache-2.0
 * Messages with reports for TTL checks; see check_report.h. */
#include "registry/check_report.h"

#include "base/wire.h"

enum { VERSION = 1, REPORT_SIZE_MIN = 2 * 4 };

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
