/* SPDX-License-Identifier: Apache-2.0
 * The kind `audit`: records of the audit trail as items of a subscription on keys (kv.c), which has its guarantees.
 *
 * A record is written once and never changed, so a delta has records alone. Deletions by retention are
 * not reported. An item is one change of a record, as in GET /api/v1/audit (audit_write_changes). */
#include <stdio.h>
#include <string.h>

#include "consensus/audit.h"
#include "server/stream/private.h"

struct stream_audit {
    struct audit_filter filter; /* its texts are in `texts` */
    int64_t from_ms;
    struct buf texts;
};

static const struct {
    enum stream_field field;
    enum audit_field of;
} fields[] = {{STREAM_HAS_CHANGE_KIND, AUDIT_KIND},
              {STREAM_HAS_USER, AUDIT_USER},
              {STREAM_HAS_NAME, AUDIT_NAME},
              {STREAM_HAS_NAMESPACE, AUDIT_NAMESPACE}};

int stream_audit_check(const struct stream_frame *frame, char *error, size_t error_size)
{
    const uint64_t own = STREAM_FIELD(STREAM_HAS_USER) | STREAM_FIELD(STREAM_HAS_CHANGE_KIND) |
                         STREAM_FIELD(STREAM_HAS_FROM),
                   foreign = STREAM_FIELD(STREAM_HAS_GROUP) | STREAM_FIELD(STREAM_HAS_GROUPS) |
                             STREAM_FIELD(STREAM_HAS_PREFIX) | STREAM_FIELD(STREAM_HAS_KNOWN) |
                             STREAM_FIELD(STREAM_HAS_FILTER);
    bool is_audit = slice_equal(frame->kind, slice_text("audit"));
    if (!is_audit && frame->has & own)
        return stream_subscribe_error(error, error_size,
                                      "subscribe: user, change_kind and from belong to audit");
    if (is_audit && frame->has & foreign)
        return stream_subscribe_error(error, error_size,
                                      "subscribe: audit takes no group, groups, prefix, known or filter");
    return OK;
}

struct stream_audit *stream_audit_new(const struct stream_frame *frame)
{
    struct stream_audit *a = mem_new(sizeof *a);
    const struct slice texts[AUDIT_FIELDS] = {[AUDIT_KIND] = frame->change_kind,
                                              [AUDIT_USER] = frame->user,
                                              [AUDIT_NAME] = frame->name,
                                              [AUDIT_NAMESPACE] = frame->ns};
    size_t size = 0;
    for (size_t i = 0; i < AUDIT_FIELDS; i++)
        size += texts[i].size;
    buf_reserve(&a->texts, size + 1);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        enum audit_field of = fields[i].of;
        a->filter.has[of] = stream_frame_has(frame, fields[i].field);
        a->filter.texts[of] = stream_subscribe_copy(&a->texts, texts[of]);
    }
    a->from_ms = (int64_t)frame->from;
    return a;
}

void stream_audit_free(struct stream_audit *a)
{
    if (!a)
        return;
    buf_done(&a->texts);
    mem_free(a);
}

void stream_audit_range(const struct stream_audit *a, struct buf *key, struct buf *end)
{
    buf_add_text(key, AUDIT_PREFIX);
    if (a->from_ms) /* the newest come first */
        audit_key_from(a->from_ms - 1, end);
    else
        stream_kv_prefix_end(slice_text(AUDIT_PREFIX), end);
}

void stream_audit_write(const struct stream_audit *a, const Mvccpb__KeyValue *pair, struct json_writer *w)
{
    (void)audit_write_changes(pair, &a->filter, w);
}
