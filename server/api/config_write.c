/* SPDX-License-Identifier: Apache-2.0
 * Routes that change configurations: publish, delete, rollback, drafts, gray rules, bundles. A handler reads
 * the request strictly and calls config/. */
#include <stdio.h>

#include "base/text.h"
#include "server/api/config_body.h"
#include "server/api/config_call.h"

/* --- answers -------------------------------------------------------------------------------------------- */

static void add_release(struct json_writer *w, uint64_t seq, const struct config_head *head)
{
    if (seq) {
        jw_key(w, "seq");
        jw_uint(w, seq);
    }
    if (!seq || !head || head->seq != seq || head->is_deleted)
        return;
    document_add_text(w, "type", slice_text(format_name(head->format)));
    document_add_text(w, "md5", slice_text(head->digest.md5));
    document_add_text(w, "sha256", slice_text(head->digest.sha256));
}

static void add_unchanged(struct json_writer *w, bool is_unchanged)
{
    if (!is_unchanged)
        return;
    jw_key(w, "unchanged");
    jw_bool(w, true);
}

void api_answer_written(struct api_call *c, const struct config_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    bool is_checked = api_has_param(c, PARAM_VALIDATE);
    if (is_checked) {
        jw_key(w, "valid");
        jw_bool(w, true);
    }
    add_release(w, is_checked ? 0 : result->seq, result->head);
    add_unchanged(w, result->is_unchanged);
    api_answer(c, result->revision);
}

/* Answers a write that made no release. */
void api_answer_unreleased(struct api_call *c, const struct config_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    add_unchanged(w, result->is_unchanged);
    api_answer(c, result->revision);
}

static void answer_scheduled(struct api_call *c, const struct config_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    struct api_annotation said;
    struct buf at = {0};
    char error[200];
    if (api_annotation_read(buf_slice(&c->q->body), ANNOTATION_PUBLISH, &c->q->arena, &said, error) == OK)
        text_add_time(&at, said.at_ms / 1000);
    document_add_text(w, "at", buf_slice(&at));
    buf_done(&at);
    api_answer(c, result->revision);
}

/* --- the live releases ------------------------------------------------------------------------------ */

/* The body is the content; parameters and headers have the rest. false: answered. */
static bool take_publish(struct api_call *c, struct config_publish *p)
{
    *p = (struct config_publish){
        .key = api_config_id(c),
        .content = buf_slice(&c->q->body),
        .title = api_param(c, PARAM_TITLE),
        .note = api_param(c, PARAM_NOTE),
        .only_validate = api_has_param(c, PARAM_VALIDATE),
        .is_deletion = api_has_param(c, PARAM_DELETION) && api_flag(api_param(c, PARAM_DELETION)),
    };
    if (!api_config_condition(c, &p->condition))
        return false;
    if (api_config_format(c, &p->has_format, &p->format) == OK)
        return true;
    api_fail(c, API_BAD_REQUEST, "type is none of text, json, yaml, properties, toml, xml, html, bin");
    return false;
}

void api_config_put(struct api_call *c)
{
    struct config_publish p;
    if (take_publish(c, &p))
        config_publish(api_config(c), api_config_request(c, api_answer_written), &p);
}

void api_config_delete(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct config_condition condition;
    if (api_config_condition(c, &condition))
        config_delete(api_config(c), api_config_request(c, api_answer_written), &key,
                      api_param(c, PARAM_NOTE), &condition);
}

void api_config_rollback(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct config_condition condition;
    struct api_annotation said;
    if (api_config_annotation(c, ANNOTATION_SEQ, &said) && api_config_condition(c, &condition))
        config_rollback(api_config(c), api_config_request(c, api_answer_written), &key, (uint64_t)said.seq,
                        said.note, &condition);
}

/* --- drafts --------------------------------------------------------------------------------------------- */

void api_draft_put(struct api_call *c)
{
    struct config_publish p;
    if (take_publish(c, &p))
        config_put_draft(api_config(c), api_config_request(c, api_answer_unreleased), &p);
}

void api_draft_delete(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    config_delete_draft(api_config(c), api_config_request(c, api_answer_unreleased), &key);
}

void api_draft_publish(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct config_condition condition;
    struct api_annotation said;
    if (!api_config_annotation(c, ANNOTATION_PUBLISH, &said) || !api_config_condition(c, &condition))
        return;
    if (said.has_at && api_has_param(c, PARAM_EMERGENCY))
        api_fail(c, API_BAD_REQUEST, "an emergency is published now: leave out at or emergency");
    else if (said.has_at)
        config_schedule_draft(api_config(c), api_config_request(c, answer_scheduled), &key, said.at_ms,
                              said.title, said.note, &condition);
    else
        config_publish_draft(api_config(c), api_config_request(c, api_answer_written), &key, said.title,
                             said.note, &condition);
}

/* --- gray releases -------------------------------------------------------------------------------------- */

void api_gray_put(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct gray_request asked;
    struct config_condition condition;
    char error[200];
    int err = gray_request_read(buf_slice(&c->q->body), &c->q->arena, &asked, error, sizeof error);
    if (err) {
        api_fail_err(c, err, error);
        return;
    }
    asked.rule.name = c->rule;
    if (api_config_condition(c, &condition))
        config_put_gray(api_config(c), api_config_request(c, api_answer_written), &key, &asked.rule,
                        asked.has_content ? &asked.content : NULL, &condition);
}

void api_gray_delete(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct config_condition condition;
    if (api_config_condition(c, &condition))
        config_delete_gray(api_config(c), api_config_request(c, api_answer_unreleased), &key, c->rule,
                           &condition);
}

void api_gray_promote(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct config_condition condition;
    struct api_annotation said;
    if (api_config_annotation(c, ANNOTATION_NOTE, &said) && api_config_condition(c, &condition))
        config_promote_gray(api_config(c), api_config_request(c, api_answer_written), &key, c->rule,
                            said.note, &condition);
}

/* --- bundles -------------------------------------------------------------------------------------------- */

bool api_is_dry(const struct api_call *c)
{
    return api_has_param(c, PARAM_VALIDATE) ||
           (api_has_param(c, PARAM_DRY_RUN) && api_flag(api_param(c, PARAM_DRY_RUN)));
}

void api_answer_bundle(struct api_call *c, const struct config_result *result)
{
    struct json_writer *w = api_json(c, result->revision);
    bool is_checked = api_is_dry(c);
    if (is_checked) {
        jw_key(w, "valid");
        jw_bool(w, true);
    }
    jw_key(w, "changed");
    jw_uint(w, is_checked ? 0 : result->items);
    jw_key(w, "items");
    jw_open(w, '[');
    for (size_t i = 0; i < result->written_count; i++) {
        const struct config_written *written = &result->written[i];
        jw_open(w, '{');
        document_add_text(w, "name", written->key.name);
        document_add_text(w, "group", written->key.group);
        document_add_text(w, "namespace", written->key.ns);
        if (!is_checked)
            add_release(w, written->head ? written->head->seq : 0, written->head);
        add_unchanged(w, written->is_unchanged);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    api_answer(c, result->revision);
}

static bool authorize_item(struct api_call *c, const struct config_id *key)
{
    return api_authorize(c, GUARD_CONFIG, true, key->ns, key->group, key->name) &&
           (!api_has_param(c, PARAM_EMERGENCY) ||
            api_authorize(c, GUARD_EMERGENCY, true, key->ns, key->group, key->name));
}

static bool authorize_bundle(struct api_call *c, const struct api_bundle *b)
{
    bool may = true;
    for (size_t i = 0; may && i < b->publish_count; i++) {
        const struct config_id *key = &b->publish[i].key;
        may = authorize_item(c, key);
    }
    for (size_t i = 0; may && i < b->remove_count; i++) {
        const struct config_id *key = &b->remove[i].key;
        may = authorize_item(c, key);
    }
    return may;
}

void api_bundle_post(struct api_call *c)
{
    const struct config_id standard = {c->ns, c->group, {0}};
    struct api_bundle b = {.only_validate = api_has_param(c, PARAM_VALIDATE)};
    char error[200] = "";
    json_t *root;
    if (!api_body(c, SCHEMA_BUNDLE, &root))
        return;
    int err = api_bundle_read(root, &standard, &c->q->arena, &b, error);
    json_decref(root);
    if (err)
        api_fail_err(c, err, error);
    else if (authorize_bundle(c, &b))
        config_bundle(api_config(c), api_config_request(c, api_answer_bundle), b.publish, b.publish_count,
                      b.remove, b.remove_count);
}
