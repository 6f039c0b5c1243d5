/* SPDX-License-Identifier: Apache-2.0
 * Gray releases: put a rule into the head, delete it, promote its release to all clients. */
#include "config/config_write.h"

#include <stdio.h>

static const struct gray_rule *find_rule(const struct target *t)
{
    for (size_t i = 0; t->head && i < t->head->gray.count; i++)
        if (slice_equal(t->head->gray.list[i].name, t->rule_name))
            return &t->head->gray.list[i];
    return NULL;
}

static int no_rule(struct write *w, struct target *t)
{
    return write_refuse(w, t, ERR_NOT_FOUND, "it has no gray rule %.*s", (int)t->rule_name.size,
                        (const char *)t->rule_name.data);
}

/* --- put ----------------------------------------------------------------------------------------------- */

int write_gray_release(struct write *w, struct target *t, bool is_deletion)
{
    t->format = t->head->format;
    int err = is_deletion ? OK : write_check_content(w, t, t->format);
    if (!err)
        err = write_release(w, t, is_deletion ? CONFIG_DELETE : CONFIG_GRAY);
    if (err)
        return err;
    write_head(w, t)->last_seq = t->seq;
    return OK;
}

static int decide_put(struct write *w, struct target *t)
{
    struct gray_rule rule = t->rules.list[0];
    if (!write_is_live(t))
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no live configuration %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    if (t->source == SOURCE_EXISTS && !t->has_source)
        return DECIDE_FETCH;
    if (t->source == SOURCE_EXISTS && !t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no release %llu (any more)",
                            (unsigned long long)t->source_seq);
    if (t->has_content) {
        int err = write_gray_release(w, t, false);
        if (err)
            return err;
        rule.seq = t->seq;
    } else {
        write_head(w, t);
    }
    if (gray_rules_put(&t->head->gray, &rule, &w->op.pending_ops.arena, &t->new_head->gray))
        return write_refuse(w, t, ERR_LIMIT, "it has %d gray rules, the maximum", GRAY_RULES_MAX);
    return OK;
}

/* Copies through the rule's form in a head. */
bool write_copy_rule(struct write *w, const struct gray_rule *rule)
{
    struct target *t = &w->targets[0];
    struct gray_rule named = *rule;
    struct buf text = {0};
    struct json_writer out = {.out = &text};
    char error[256];
    json_t *array;
    int err = name_check(rule->name, NAME_SIZE_MAX, "the rule's name", error, sizeof error);
    if (!err) {
        named.seq = named.seq ? named.seq : 1;
        gray_rules_write(&(struct gray_rules){&named, 1}, &out);
        err = json_parse(buf_slice(&text), &array, error, sizeof error);
    }
    if (!err) {
        err = gray_rules_read(array, &w->op.pending_ops.arena, &t->rules, error, sizeof error);
        json_decref(array);
    }
    buf_done(&text);
    if (err)
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
    return err == OK;
}

void config_put_gray(struct config *c, struct config_request *q, const struct config_id *key,
                     const struct gray_rule *rule, const struct slice *content,
                     const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_put, condition) || !write_copy_rule(w, rule))
        return;
    if (!content && (rule->seq == 0 || rule->seq > CONFIG_SEQ_MAX)) {
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "the rule needs either seq or content");
        return;
    }
    t->has_content = content;
    t->source = content ? SOURCE_NONE : SOURCE_EXISTS;
    t->source_seq = rule->seq;
    if (content)
        t->content = write_content(w, *content);
    write_start(w);
}

/* --- delete -------------------------------------------------------------------------------------------- */

static int decide_delete(struct write *w, struct target *t)
{
    if (!find_rule(t))
        return no_rule(w, t);
    struct config_head *head = write_head(w, t);
    t->is_reviewed = true; /* its clients get what is live */
    return gray_rules_remove(&t->head->gray, t->rule_name, &w->op.pending_ops.arena, &head->gray);
}

void config_delete_gray(struct config *c, struct config_request *q, const struct config_id *key,
                        struct slice rule, const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    if (!write_target(w, 0, key, decide_delete, condition))
        return;
    w->targets[0].rule_name = config_copy(&w->op.pending_ops.arena, rule);
    write_start(w);
}

/* --- promote ------------------------------------------------------------------------------------------- */

static int decide_promote(struct write *w, struct target *t)
{
    const struct gray_rule *rule = find_rule(t);
    if (!rule)
        return no_rule(w, t);
    if (!t->has_source || t->source_seq != rule->seq) {
        t->source = SOURCE_RELEASE;
        t->source_seq = rule->seq;
        return DECIDE_FETCH;
    }
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no release %llu (any more)",
                            (unsigned long long)rule->seq);
    bool is_deletion = t->release.operation == CONFIG_DELETE;
    struct gray_rules rest = {0};
    int err = gray_rules_remove(&t->head->gray, t->rule_name, &w->op.pending_ops.arena, &rest);
    t->format = t->release.format;
    t->content = t->release.content;
    t->title = t->release.title;
    t->is_published_content = true;
    if (!err && !is_deletion)
        err = write_check_content(w, t, t->format);
    if (!err)
        err = write_release(w, t, is_deletion ? CONFIG_DELETE : CONFIG_PROMOTE);
    if (err)
        return err;
    t->new_release->origin_seq = rule->seq;
    t->new_head->gray = is_deletion ? (struct gray_rules){0} : rest;
    return OK;
}

void config_promote_gray(struct config *c, struct config_request *q, const struct config_id *key,
                         struct slice rule, struct slice note, const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    if (!write_target(w, 0, key, decide_promote, condition) || !write_annotate(w, 0, (struct slice){0}, note))
        return;
    w->targets[0].rule_name = config_copy(&w->op.pending_ops.arena, rule);
    write_start(w);
}
