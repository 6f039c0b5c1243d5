/* SPDX-License-Identifier: Apache-2.0
 * The stored document of a storm guard: the usual rate of deaths, for the next leader. See
 * janitor_guard.h. */
#include "base/document.h"
#include "registry/janitor_guard.h"

#define USUAL_MAX  1000000000
#define RAISES_MAX 16

static const struct {
    const char *usual, *raises;
} fields[STORM_GROUPS] = {
    [STORM_ALL] = {"usual", "raises"},
    [STORM_ESTABLISHED] = {"usual_established", "raises_established"},
};

static void read_count(struct document_reader *r, const char *field, int64_t max, uint64_t *ret)
{
    int64_t value = 0;
    if (document_number(r, field, 0, max, &value))
        *ret = (uint64_t)value;
}

int guard_history_read(struct slice text, struct guard_history *ret)
{
    struct arena a = {0};
    char error[200];
    struct guard_history h = {0};
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, &a, error, sizeof error);
    document_begin(&r, text);
    for (int k = 0; k < STORM_GROUPS; k++) {
        read_count(&r, fields[k].usual, USUAL_MAX, &h.groups[k].usual);
        read_count(&r, fields[k].raises, RAISES_MAX, &h.groups[k].raises);
    }
    document_number(&r, "settled", 0, INT64_MAX, &h.established_revision);
    int err = document_end(&r);
    arena_done(&a);
    if (!err)
        *ret = h;
    return err;
}

void guard_history_write(const struct guard_history *h, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    for (int k = 0; k < STORM_GROUPS; k++) {
        jw_key(&w, fields[k].usual);
        jw_int(&w, (int64_t)h->groups[k].usual);
        jw_key(&w, fields[k].raises);
        jw_int(&w, (int64_t)h->groups[k].raises);
    }
    jw_key(&w, "settled");
    jw_int(&w, h->established_revision);
    jw_close(&w, '}');
}
