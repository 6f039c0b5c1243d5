/* SPDX-License-Identifier: Apache-2.0
 * Drafts: put, read, delete, publish. A draft has a key of its own that is not watched. Its format is checked
 * when it is published. The transaction compares the draft's key, so the checked content goes live. */
#include "config/config_write.h"

/* --- put ----------------------------------------------------------------------------------------------- */

/* Counts the drafts of one namespace; ns empty: of all namespaces. */
static int count_drafts(struct config *c, struct slice ns, size_t *ret_count)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    struct buf from = {0}, to = {0};
    config_name_add_prefix(&from, CONFIG_DRAFT, ns, (struct slice){0}, (struct slice){0});
    buf_add_slice(&to, buf_slice(&from));
    to.data[to.size - 1]++; /* '/' */
    m.key = (ProtobufCBinaryData){from.size, from.data};
    m.range_end = (ProtobufCBinaryData){to.size, to.data};
    m.count_only = true;
    int err = kv_range_now(c->kv, &m, &a, &response);
    if (!err)
        *ret_count = (size_t)response->count;
    arena_done(&a);
    buf_done(&from);
    buf_done(&to);
    return err;
}

/* In a namespace without configurations and without a document the limit is on the drafts of all namespaces: otherwise namespaces
 * with drafts only would have no limit. */
static int check_count(struct write *w, struct target *t)
{
    const struct config *c = w->op.config;
    const struct heads_limits limits = config_limits(c, t->key.ns);
    size_t max = limits.items, count = 0;
    bool has_namespace =
        heads_has_namespace(c->heads, t->key.ns) || namespace_view_find(c->options.namespaces, t->key.ns);
    int err = max ? count_drafts(w->op.config, has_namespace ? t->key.ns : (struct slice){0}, &count) : OK;
    if (err || !max || count < max)
        return err;
    if (!has_namespace)
        return write_refuse(w, t, ERR_QUOTA,
                            "namespace %.*s has no configuration yet, and there are %zu drafts already (%s)",
                            (int)t->key.ns.size, (const char *)t->key.ns.data, count, limits.items_setting);
    return write_refuse(w, t, ERR_QUOTA, "namespace %.*s is full: it may hold %zu drafts (%s)",
                        (int)t->key.ns.size, (const char *)t->key.ns.data, max, limits.items_setting);
}

static int decide_put(struct write *w, struct target *t)
{
    if (!t->has_source)
        return DECIDE_FETCH;
    int err = t->source_revision ? OK : check_count(w, t);
    if (err)
        return err;
    if (!t->has_format && t->head)
        t->format = t->head->format;
    else if (!t->has_format)
        err = format_find((struct slice){0}, (struct slice){0}, t->key.name, &t->format);
    if (!err && t->is_deletion && !write_is_live(t))
        err = write_refuse(w, t, ERR_NOT_FOUND, "there is no live configuration %.*s", (int)t->key.name.size,
                           (const char *)t->key.name.data);
    if (!err && !t->is_deletion)
        err = write_check_draft(w, t);
    if (err)
        return err;
    struct config_draft d = {.is_deletion = t->is_deletion,
                             .format = t->format,
                             .content = t->content,
                             .encoded = buf_slice(&t->checked.encoded),
                             .sealed = t->checked.seal.key ? slice_text(t->checked.seal.key->id)
                                                           : (struct slice){0},
                             .title = t->title,
                             .note = t->note,
                             .author = w->author,
                             .time_ms = config_wall_ms(w->op.config)};
    d.base_seq = write_is_live(t) ? t->head->seq : 0;
    buf_clear(&t->text);
    config_draft_write(&d, &t->text);
    t->new_draft = buf_slice(&t->text);
    return OK;
}

void config_put_draft(struct config *c, struct config_request *q, const struct config_publish *p)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    w->only_validate = p->only_validate;
    if (!write_target(w, 0, &p->key, decide_put, &p->condition) || !write_annotate(w, 0, p->title, p->note))
        return;
    t->has_format = p->has_format;
    t->format = p->format;
    t->is_deletion = p->is_deletion;
    t->content = write_content(w, p->is_deletion ? (struct slice){0} : p->content);
    t->source = SOURCE_DRAFT;
    write_start(w);
}

/* --- publish ------------------------------------------------------------------------------------------- */

static int publish_deletion(struct write *w, struct target *t)
{
    if (!write_is_live(t))
        return OK; /* it is deleted already: only delete the draft */
    t->format = t->head->format;
    int err = write_release(w, t, CONFIG_DELETE);
    if (!err)
        t->new_head->gray = (struct gray_rules){0};
    return err;
}

static int publish_draft_content(struct write *w, struct target *t)
{
    t->format = t->draft.format;
    t->content = t->draft.content;
    int err = write_check_content(w, t, t->format);
    if (err || write_equals_live(t))
        return err; /* the content is live already: only delete the draft */
    return write_release(w, t, CONFIG_PUBLISH);
}

int write_publish_draft(struct write *w, struct target *t)
{
    struct workflow_review review;
    struct buf none = {0};
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no draft of %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    struct slice title = t->title, note = t->note;
    int err = write_check_review(w, t, &review);
    t->title = title.size ? title : t->draft.title;
    t->note = note.size ? note : t->draft.note;
    if (!err)
        err = t->draft.is_deletion ? publish_deletion(w, t) : publish_draft_content(w, t);
    if (!err && t->new_release)
        t->new_release->approved = review.decided.author.name;
    t->title = title;
    t->note = note;
    t->deletes_draft = t->is_reviewed = true;
    write_change_side(w, t, SIDE_REVIEW, &none);
    write_change_side(w, t, SIDE_SCHEDULE, &none);
    return err;
}

void config_publish_draft(struct config *c, struct config_request *q, const struct config_id *key,
                          struct slice title, struct slice note, const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    if (!write_target(w, 0, key, write_publish_draft, condition) || !write_annotate(w, 0, title, note))
        return;
    w->targets[0].source = SOURCE_DRAFT;
    write_use_side(w, &w->targets[0], SIDE_REVIEW);
    write_use_side(w, &w->targets[0], SIDE_SCHEDULE);
    write_start(w);
}

/* --- delete -------------------------------------------------------------------------------------------- */

/* Its review and its schedule go with it. */
static int decide_drop(struct write *w, struct target *t)
{
    struct buf none = {0};
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no draft of %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    t->deletes_draft = true;
    write_change_side(w, t, SIDE_REVIEW, &none);
    write_change_side(w, t, SIDE_SCHEDULE, &none);
    return OK;
}

void config_delete_draft(struct config *c, struct config_request *q, const struct config_id *key)
{
    struct write *w = write_new(c, q, 1);
    if (!write_target(w, 0, key, decide_drop, NULL))
        return;
    w->targets[0].source = SOURCE_DRAFT;
    write_use_side(w, &w->targets[0], SIDE_REVIEW);
    write_use_side(w, &w->targets[0], SIDE_SCHEDULE);
    write_start(w);
}
