/* SPDX-License-Identifier: Apache-2.0
 * Readers and writers of the documents of a namespace; see document.h. Fields are written in one order; a
 * field with its default value is left out. */
#include "namespace/document.h"

#include <inttypes.h>

const struct namespace_quota_row namespace_quotas[NAMESPACE_QUOTAS] = {
#define NAMESPACE_QUOTA(name, field, option, what) {field, option, what},
#include "namespace/quota.def"
#undef NAMESPACE_QUOTA
};

/* --- reading -------------------------------------------------------------------------------------------- */

static void read_document(struct document_reader *r, struct namespace_document *d)
{
    document_text(r, "title", &d->title);
    document_string(r, "description", NAMESPACE_DESCRIPTION_MAX, &d->description);
    document_text(r, "owner", &d->owner);
    document_strings(r, "labels", NAMESPACE_LABELS_MAX, NAMESPACE_LABEL_BYTES_MAX, &d->labels);
}

static void read_limits(struct document_reader *r, struct namespace_limits *l)
{
    for (int q = 0; q < NAMESPACE_QUOTAS; q++) {
        int64_t value;
        l->has[q] = document_number(r, namespace_quotas[q].field, 0, INT64_MAX, &value);
        l->value[q] = l->has[q] ? (uint64_t)value : 0;
    }
}

static void read_change(struct document_reader *r, struct namespace_change *c, char *error, size_t error_size)
{
    read_document(r, &c->document);
    json_t *quotas = document_take(r, "quotas");
    if (!quotas)
        return;
    c->has_limits = true;
    if (!json_is_object(quotas)) {
        document_refuse(r, "quotas", "is not an object");
        return;
    }
    struct document_reader inner = document_reader_of(DOCUMENT_STRICT, r->arena, error, error_size);
    document_begin_value(&inner, quotas);
    read_limits(&inner, &c->limits);
    int err = document_end(&inner);
    if (!r->err)
        r->err = err;
}

int namespace_change_read(struct slice text, struct arena *a, struct namespace_change *ret, char *error,
                          size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct namespace_change c = {0};
    document_begin(&r, text);
    read_change(&r, &c, error, error_size);
    int err = document_end(&r);
    if (!err)
        *ret = c;
    return err;
}

int namespace_document_read(struct slice text, struct arena *a, struct namespace_document *ret)
{
    char error[256];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    struct namespace_document d = {0};
    if (text.size > NAMESPACE_DOCUMENT_MAX)
        return ERR_INVALID;
    document_begin(&r, text);
    read_document(&r, &d);
    author_read(&r, &d.author);
    document_number(&r, "time_ms", 0, INT64_MAX, &d.time_ms);
    int err = document_end(&r);
    if (!err)
        *ret = d;
    return err;
}

int namespace_limits_read(struct slice text, struct arena *a, struct namespace_limits *ret)
{
    char error[256];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    struct namespace_limits l = {0};
    if (text.size > NAMESPACE_DOCUMENT_MAX)
        return ERR_INVALID;
    document_begin(&r, text);
    read_limits(&r, &l);
    author_read(&r, &l.author);
    document_number(&r, "time_ms", 0, INT64_MAX, &l.time_ms);
    int err = document_end(&r);
    if (!err)
        *ret = l;
    return err;
}

static void read_counts(struct document_reader *r, const char *field, uint64_t ret_counts[AREAS])
{
    char error[256];
    json_t *object = document_take(r, field);
    if (!object)
        return;
    if (!json_is_object(object)) {
        document_refuse(r, field, "is not an object");
        return;
    }
    struct document_reader inner = document_reader_of(DOCUMENT_TOLERANT, r->arena, error, sizeof error);
    document_begin_value(&inner, object);
    for (int a = 0; a < AREAS; a++) {
        int64_t value = 0;
        document_number(&inner, namespace_areas[a].word, 0, INT64_MAX, &value);
        ret_counts[a] = (uint64_t)value;
    }
    if (document_end(&inner))
        document_refuse(r, field, "has a count that is not a number");
}

int namespace_deletion_read(struct slice text, struct arena *a, struct namespace_deletion *ret)
{
    char error[256];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    struct namespace_deletion d = {0};
    struct slice state = {0};
    if (text.size > NAMESPACE_DOCUMENT_MAX)
        return ERR_INVALID;
    document_begin(&r, text);
    document_text(&r, "state", &state);
    d.is_done = slice_equal(state, slice_text("done"));
    if (!d.is_done && !slice_equal(state, slice_text("running")))
        document_refuse(&r, "state", "is neither running nor done");
    author_read(&r, &d.author);
    document_number(&r, "time_ms", 0, INT64_MAX, &d.time_ms);
    document_number(&r, "done_ms", 0, INT64_MAX, &d.done_ms);
    read_counts(&r, "found", d.found);
    read_counts(&r, "removed", d.removed);
    int err = document_end(&r);
    if (!err)
        *ret = d;
    return err;
}

/* --- writing -------------------------------------------------------------------------------------------- */

void namespace_document_write_members(const struct namespace_document *d, struct json_writer *w)
{
    document_add_text(w, "title", d->title);
    document_add_text(w, "description", d->description);
    document_add_text(w, "owner", d->owner);
    document_add_map(w, "labels", &d->labels);
    author_write_members(&d->author, w);
    if (d->time_ms)
        document_add_number(w, "time_ms", d->time_ms);
}

void namespace_document_write(const struct namespace_document *d, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    namespace_document_write_members(d, &w);
    jw_close(&w, '}');
}

static void write_limits(const struct namespace_limits *l, struct json_writer *w)
{
    for (int q = 0; q < NAMESPACE_QUOTAS; q++)
        if (l->has[q])
            document_add_number(w, namespace_quotas[q].field, (int64_t)l->value[q]);
}

void namespace_limits_write_object(const struct namespace_limits *l, struct json_writer *w)
{
    jw_open(w, '{');
    write_limits(l, w);
    jw_close(w, '}');
}

void namespace_limits_write(const struct namespace_limits *l, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    write_limits(l, &w);
    author_write_members(&l->author, &w);
    document_add_number(&w, "time_ms", l->time_ms);
    jw_close(&w, '}');
}

void namespace_counts_write(const uint64_t counts[AREAS], struct json_writer *w)
{
    jw_open(w, '{');
    for (int a = 0; a < AREAS; a++)
        if (counts[a])
            document_add_number(w, namespace_areas[a].word, (int64_t)counts[a]);
    jw_close(w, '}');
}

void namespace_deletion_write_members(const struct namespace_deletion *d, struct json_writer *w)
{
    document_add_text(w, "state", slice_text(d->is_done ? "done" : "running"));
    author_write_members(&d->author, w);
    document_add_number(w, "time_ms", d->time_ms);
    if (d->done_ms)
        document_add_number(w, "done_ms", d->done_ms);
    jw_key(w, "found");
    namespace_counts_write(d->found, w);
    jw_key(w, "removed");
    namespace_counts_write(d->removed, w);
}

void namespace_deletion_write(const struct namespace_deletion *d, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    namespace_deletion_write_members(d, &w);
    jw_close(&w, '}');
}

/* --- comparing and counting ----------------------------------------------------------------------------- */

bool namespace_document_equal(const struct namespace_document *a, const struct namespace_document *b)
{
    bool is_equal = slice_equal(a->title, b->title) && slice_equal(a->description, b->description) &&
                    slice_equal(a->owner, b->owner) && a->labels.count == b->labels.count;
    for (size_t i = 0; is_equal && i < a->labels.count; i++)
        is_equal = slice_equal(a->labels.list[i].key, b->labels.list[i].key) &&
                   slice_equal(a->labels.list[i].value, b->labels.list[i].value);
    return is_equal;
}

bool namespace_limits_equal(const struct namespace_limits *a, const struct namespace_limits *b)
{
    bool is_equal = true;
    for (int q = 0; q < NAMESPACE_QUOTAS; q++)
        is_equal = is_equal && a->has[q] == b->has[q] && a->value[q] == b->value[q];
    return is_equal;
}

bool namespace_limits_any(const struct namespace_limits *l)
{
    bool any = false;
    for (int q = 0; q < NAMESPACE_QUOTAS; q++)
        any |= l->has[q];
    return any;
}

uint64_t namespace_counts_sum(const uint64_t counts[AREAS])
{
    uint64_t sum = 0;
    for (int a = 0; a < AREAS; a++)
        sum += counts[a];
    return sum;
}

void namespace_counts_text(const uint64_t counts[AREAS], struct buf *out)
{
    const char *separator = "";
    for (int a = 0; a < AREAS; a++) {
        if (!counts[a])
            continue;
        buf_addf(out, "%s%" PRIu64 " %s", separator, counts[a], namespace_areas[a].word);
        separator = ", ";
    }
}
