/* SPDX-License-Identifier: Apache-2.0
 * Rules of `migrate`, without any connection. */
#include "sdk/ctl/migrate_plan.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "sdk/ctl/show.h"

static bool starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

bool migrate_is_reserved(struct slice key)
{
    return starts_with(key, slice_text(MIGRATE_RESERVED));
}

bool migrate_map_key(const struct migrate_rule *rule, struct slice key, struct buf *out)
{
    buf_clear(out);
    if (!starts_with(key, rule->prefix) || migrate_is_reserved(key))
        return false;
    buf_add_slice(out, rule->dest);
    buf_add(out, key.data + rule->prefix.size, key.size - rule->prefix.size);
    return out->size > 0 && !migrate_is_reserved(buf_slice(out));
}

void migrate_range_end(struct slice prefix, struct buf *out)
{
    buf_clear(out);
    buf_add_slice(out, prefix);
    while (out->size && out->data[out->size - 1] == 0xff)
        out->size--;
    if (out->size)
        out->data[out->size - 1]++;
    else
        buf_add_byte(out, 0);
}

static bool has_key(const struct migrate_op *ops, size_t count, struct slice key)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(ops[i].key, key))
            return true;
    return false;
}

size_t migrate_batch(const struct migrate_op *ops, size_t count, const struct migrate_limits *limits,
                     int64_t *ret_revision, bool *ret_is_torn)
{
    size_t whole = 0, bytes = 0, i = 0;
    *ret_is_torn = false;
    for (; i < count; i++) {
        bytes += ops[i].key.size + ops[i].value.size;
        if (i > 0 && (i >= limits->ops || bytes > limits->bytes || has_key(ops, i, ops[i].key)))
            break;
        if (i + 1 == count || ops[i + 1].revision != ops[i].revision)
            whole = i + 1;
    }
    *ret_is_torn = whole == 0 && count > 0;
    size_t taken = whole ? whole : i;
    if (taken)
        *ret_revision = ops[taken - 1].revision - *ret_is_torn;
    return taken;
}

enum migrate_step migrate_compare(const struct migrate_op *source, const struct migrate_op *target)
{
    int order = !target ? -1 : !source ? 1 : slice_compare(source->key, target->key);
    if (order)
        return order < 0 ? MIGRATE_PUT : MIGRATE_DELETE;
    return slice_equal(source->value, target->value) && source->lease == target->lease ? MIGRATE_SAME
                                                                                       : MIGRATE_CHANGE;
}

void migrate_state_add(struct buf *out, const struct migrate_state *s)
{
    buf_addf(out, "{\"run\":\"%016" PRIx64 "\",\"seq\":%" PRIu64 ",\"revision\":%" PRId64 "}", s->run, s->seq,
             s->revision);
}

int migrate_state_read(struct slice text, struct migrate_state *ret)
{
    json_t *doc = NULL;
    char why[200];
    if (json_parse(text, &doc, why, sizeof why) != OK)
        return ERR_MALFORMED;
    uint64_t run = 0;
    int64_t seq = ctl_json_int(doc, "seq"), revision = ctl_json_int(doc, "revision");
    char rest;
    bool is_fine = json_is_integer(ctl_json_at(doc, "seq")) &&
                   json_is_integer(ctl_json_at(doc, "revision")) && seq >= 0 && revision >= 0 &&
                   sscanf(ctl_json_text(doc, "run"), "%16" SCNx64 "%c", &run, &rest) == 1;
    json_decref(doc);
    if (!is_fine)
        return ERR_MALFORMED;
    *ret = (struct migrate_state){.run = run, .seq = (uint64_t)seq, .revision = revision};
    return OK;
}
