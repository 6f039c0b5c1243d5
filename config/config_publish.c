/* SPDX-License-Identifier: Apache-2.0
 * Writes that change the live release: publish, rollback, delete, bundle. */
#include "config/config_write.h"

/* --- publish ------------------------------------------------------------------------------------------- */

static int find_format(struct write *w, struct target *t)
{
    if (t->has_format)
        return OK;
    if (t->head) {
        t->format = t->head->format;
        return OK;
    }
    return format_find((struct slice){0}, (struct slice){0}, t->key.name, &t->format)
               ? write_refuse(w, t, ERR_INVALID, "its format is unknown")
               : OK;
}

int write_publish_content(struct write *w, struct target *t, enum config_operation operation)
{
    int err = write_check_content(w, t, t->format);
    if (err)
        return err;
    t->is_unchanged = write_equals_live(t);
    return t->is_unchanged ? OK : write_release(w, t, operation);
}

static int decide_publish(struct write *w, struct target *t)
{
    int err = find_format(w, t);
    return err ? err : write_publish_content(w, t, t->is_import ? CONFIG_IMPORT : CONFIG_PUBLISH);
}

static bool add_publish(struct write *w, size_t at, const struct config_publish *p)
{
    struct target *t = &w->targets[at];
    if (!write_target(w, at, &p->key, decide_publish, &p->condition) ||
        !write_annotate(w, at, p->title, p->note))
        return false;
    t->has_format = p->has_format;
    t->format = p->format;
    t->is_import = p->is_import;
    t->must_seal = p->must_seal;
    t->content = write_content(w, p->content);
    return true;
}

void config_publish(struct config *c, struct config_request *q, const struct config_publish *p)
{
    struct write *w = write_new(c, q, 1);
    w->only_validate = p->only_validate;
    if (add_publish(w, 0, p))
        write_start(w);
}

/* --- rollback ------------------------------------------------------------------------------------------ */

static int decide_rollback(struct write *w, struct target *t)
{
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no release %llu (any more)",
                            (unsigned long long)t->wanted);
    if (t->release.operation == CONFIG_DELETE)
        return write_refuse(w, t, ERR_INVALID, "release %llu is a deletion: it has no content",
                            (unsigned long long)t->wanted);
    t->format = t->release.format;
    t->content = t->release.content;
    t->title = t->release.title;
    t->has_format = t->is_published_content = true;
    int err = write_publish_content(w, t, CONFIG_ROLLBACK);
    if (!err && t->new_release)
        t->new_release->origin_seq = t->wanted;
    return err;
}

void config_rollback(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                     struct slice note, const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_rollback, condition) ||
        !write_annotate(w, 0, (struct slice){0}, note))
        return;
    if (seq == 0 || seq > CONFIG_SEQ_MAX) {
        pending_op_refuse(&w->op.pending_ops, ERR_NOT_FOUND, "there is no such release");
        return;
    }
    t->source = SOURCE_RELEASE;
    t->source_seq = t->wanted = seq;
    write_start(w);
}

/* --- delete -------------------------------------------------------------------------------------------- */

static int decide_delete(struct write *w, struct target *t)
{
    if (!write_is_live(t))
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no configuration %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    t->format = t->head->format;
    int err = write_release(w, t, CONFIG_DELETE);
    if (!err)
        t->new_head->gray = (struct gray_rules){0};
    return err;
}

void config_delete(struct config *c, struct config_request *q, const struct config_id *key, struct slice note,
                   const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    if (write_target(w, 0, key, decide_delete, condition) && write_annotate(w, 0, (struct slice){0}, note))
        write_start(w);
}

/* --- bundles ------------------------------------------------------------------------------------------- */

bool write_refuse_duplicate(struct write *w)
{
    struct strmap keys = {0};
    struct target *duplicate = NULL;
    for (size_t i = 0; i < w->count && !duplicate; i++)
        if (strmap_put(&keys, w->targets[i].head_key, w))
            duplicate = &w->targets[i];
    strmap_done(&keys);
    if (!duplicate)
        return false;
    w->op.result.key = duplicate->key;
    pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "%.*s is given twice", (int)duplicate->key.name.size,
                      (const char *)duplicate->key.name.data);
    return true;
}

void config_bundle(struct config *c, struct config_request *q, const struct config_publish *publish,
                   size_t publish_count, const struct config_remove *remove, size_t remove_count)
{
    size_t max = c->options.txn_ops_max / 2, count = publish_count + remove_count;
    struct write *w = write_new(c, q, count && count <= max ? count : 0);
    w->is_bundle = true;
    if (!w->count) {
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID,
                          "a bundle has 1 to %zu configurations, this one %zu", max, count);
        return;
    }
    for (size_t i = 0; i < publish_count; i++) {
        w->only_validate |= publish[i].only_validate;
        if (!add_publish(w, i, &publish[i])) {
            w->op.result.key = config_copy_id(&w->op.pending_ops.arena, &publish[i].key);
            return;
        }
    }
    for (size_t i = 0; i < remove_count; i++)
        if (!write_target(w, publish_count + i, &remove[i].key, decide_delete, &remove[i].condition)) {
            w->op.result.key = config_copy_id(&w->op.pending_ops.arena, &remove[i].key);
            return;
        }
    if (!write_refuse_duplicate(w))
        write_start(w);
}
