/* SPDX-License-Identifier: Apache-2.0
 * Copies of live releases from one namespace to another, as one bundle. Beside what every write does
 * (config_write.h), a copy reads the head of its source, and its transaction compares it. The steps:
 *
 *   1. prove   The heads of sources and targets are read. Each must have the release that the client compared.
 *   2. fetch   The contents are read, if they fit into one transaction together.
 *   3. write   As a publish: with the schemas, the policy and the quotas of the target's namespace. */
#include "base/mutant.h"
#include "config/config_write.h"

static bool is_live_as(const struct config_head *head, uint64_t seq)
{
    uint64_t live = head && !head->is_deleted ? head->seq : 0;
    return live == seq || MUTANT(PROMOTE_UNPROVEN);
}

static int prove(struct write *w, struct target *t)
{
    const struct config_id *from = &t->origin;
    w->is_source_error = !is_live_as(t->origin_head, t->wanted);
    if (w->is_source_error)
        return write_refuse(w, t, ERR_PRECONDITION,
                            "release %llu of %.*s is not live in namespace %.*s (any more): compare again",
                            (unsigned long long)t->wanted, (int)from->name.size,
                            (const char *)from->name.data, (int)from->ns.size, (const char *)from->ns.data);
    if (!is_live_as(t->head, t->expected))
        return write_refuse(w, t, ERR_PRECONDITION,
                            "%.*s has changed in namespace %.*s: release %llu is not live; compare again",
                            (int)t->key.name.size, (const char *)t->key.name.data, (int)t->key.ns.size,
                            (const char *)t->key.ns.data, (unsigned long long)t->expected);
    return OK;
}

/* The contents are read in one turn: they must not be more than one transaction may write. */
static int check_total(struct write *w, struct target *t)
{
    uint64_t total = 0, max = w->op.config->options.request_bytes_max;
    for (size_t i = 0; i < w->count; i++) {
        const struct config_head *head = w->targets[i].origin_head;
        total += head ? head->size : 0;
        total += head && head->sealed.size ? head->size / 3 : 0; /* sealed bytes are stored as base64 */
    }
    if (total <= max)
        return OK;
    return write_refuse(w, t, ERR_REQUEST_TOO_LARGE,
                        "the contents have %llu bytes together; the limit of a request is %llu "
                        "(--max-request-bytes): promote fewer at once",
                        (unsigned long long)total, (unsigned long long)max);
}

static int decide_copy(struct write *w, struct target *t)
{
    if (!t->has_origin)
        return DECIDE_FETCH;
    int err = prove(w, t);
    if (!err)
        err = check_total(w, t);
    if (err)
        return err;
    if (!t->has_source) {
        t->source = SOURCE_RELEASE;
        t->source_seq = t->wanted;
        return DECIDE_FETCH;
    }
    w->is_source_error = !t->source_revision || t->release.operation == CONFIG_DELETE;
    if (w->is_source_error)
        return write_refuse(w, t, ERR_PRECONDITION, "release %llu of %.*s cannot be read",
                            (unsigned long long)t->wanted, (int)t->key.name.size,
                            (const char *)t->key.name.data);
    t->format = t->release.format;
    t->has_format = true;
    t->content = t->release.content;
    t->title = t->release.title;
    if (!t->reason.size)
        t->note = t->release.note;
    err = write_publish_content(w, t, CONFIG_PUBLISH);
    if (!err && t->new_release) {
        t->new_release->origin_seq = t->wanted;
        t->new_release->origin_ns = t->origin.ns;
    }
    return err;
}

static bool add_copy(struct write *w, size_t at, struct slice from, struct slice to,
                     const struct config_copied *copied, struct slice note)
{
    struct target *t = &w->targets[at];
    struct arena *a = &w->op.pending_ops.arena;
    const struct config_id key = {to, copied->group, copied->name}, origin = {from, key.group, key.name};
    if (!config_check_id(&w->op, &origin) || !write_target(w, at, &key, decide_copy, NULL) ||
        !write_annotate(w, at, (struct slice){0}, note))
        return false;
    t->is_copy = true;
    t->origin = config_copy_id(a, &origin);
    t->origin_head_key = config_key(a, CONFIG_HEAD, &t->origin, 0);
    t->wanted = copied->seq;
    t->expected = copied->to_seq;
    t->reason = t->note; /* the client's, in place of that of the source */
    return true;
}

void config_promote(struct config *c, struct config_request *q, struct slice from, struct slice to,
                    const struct config_copied *list, size_t count, struct slice note, bool only_validate)
{
    size_t max = c->options.txn_ops_max / 2;
    bool is_same = slice_equal(from, to);
    struct write *w = write_new(c, q, !is_same && count <= max ? count : 0);
    w->is_bundle = true;
    w->only_validate = only_validate;
    if (is_same)
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "from and to are the same namespace");
    else if (!w->count)
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID,
                          "1 to %zu configurations are promoted at once, not %zu", max, count);
    if (!w->count)
        return;
    for (size_t i = 0; i < count; i++)
        if (!add_copy(w, i, from, to, &list[i], note)) {
            const struct config_id key = {to, list[i].group, list[i].name};
            w->op.result.key = config_copy_id(&w->op.pending_ops.arena, &key);
            return;
        }
    if (!write_refuse_duplicate(w))
        write_start(w);
}
