/* SPDX-License-Identifier: Apache-2.0
 * Two namespaces: GET /api/v1/compare lists their configurations side by side; POST /api/v1/promote copies some of
 * them, if they are still as they were compared (config/config_compare.c, config/config_promote.c). */
#include "server/api/config_call.h"

/* --- compare -------------------------------------------------------------------------------------------- */

struct compare_call {
    struct config_compare compare; /* first */
    struct api_call *call;
    struct api_page page;
    struct buf list, last; /* last: "group" and "name" of the last entry */
    struct json_writer writer;
};

static const char *const states[] = {
    [CONFIG_ONLY_FROM] = "only_from", [CONFIG_ONLY_TO] = "only_to", [CONFIG_SAME] = "same",
    [CONFIG_DIFFERS] = "differs",     [CONFIG_UNKNOWN] = "unknown",
};

static void add_side(struct json_writer *w, const char *const names[5], const struct config_compared_side *s)
{
    document_add_number(w, names[0], (int64_t)s->seq);
    if (!s->is_live)
        return;
    document_add_text(w, names[1], slice_text(format_name(s->format)));
    document_add_number(w, names[2], (int64_t)s->size);
    document_add_text(w, names[3], slice_text(s->digest.md5));
    document_add_text(w, names[4], s->sealed);
}

static void on_compared(struct config_compare *q, const struct config_compared *item)
{
    static const char *const from[] = {"seq", "type", "size", "md5", "sealed"}, *const to[] = {
                                                                                    "to_seq", "to_type",
                                                                                    "to_size", "to_md5",
                                                                                    "to_sealed"};
    struct compare_call *s = container_of(q, struct compare_call, compare);
    struct json_writer *w = &s->writer;
    jw_open(w, '{');
    jw_key(w, "name");
    jw_string(w, item->name);
    jw_key(w, "group");
    jw_string(w, item->group);
    document_add_text(w, "state", slice_text(states[item->state]));
    add_side(w, from, &item->from);
    add_side(w, to, &item->to);
    if (item->error)
        document_add_text(w, "error", slice_text(item->error));
    jw_close(w, '}');
    buf_clear(&s->last);
    buf_add_slice(&s->last, item->group);
    buf_add_slice(&s->last, item->name);
    s->page.group = slice_of(s->last.data, item->group.size);
    s->page.name = slice_of(s->last.data + item->group.size, item->name.size);
}

static void compare_call_done(struct compare_call *s)
{
    buf_done(&s->page.after);
    buf_done(&s->list);
    buf_done(&s->last);
}

static void on_compare_done(struct config_request *q, int err, const struct config_result *result)
{
    struct config_compare *r = container_of(q, struct config_compare, request);
    struct compare_call *s = container_of(r, struct compare_call, compare);
    struct api_call *c = s->call;
    if (err) {
        compare_call_done(s);
        api_config_fail(c, err, result);
        return;
    }
    struct json_writer *w = api_json(c, result->revision);
    document_add_text(w, "from", s->compare.from);
    document_add_text(w, "to", s->compare.to);
    buf_add_byte(&s->list, ']');
    jw_key(w, "configs");
    jw_raw(w, buf_slice(&s->list));
    api_page_end(&s->page, w, result->has_more && s->page.name.size);
    compare_call_done(s);
    api_answer(c, result->revision);
}

static void cancel_compare(struct api_call *c)
{
    struct compare_call *s = c->state;
    config_cancel(api_config(c), &s->compare.request);
    compare_call_done(s);
}

void api_config_compare(struct api_call *c)
{
    const struct slice to = api_param(c, PARAM_TO_NAMESPACE), prefix = api_param(c, PARAM_PREFIX),
                       group = api_group_filter(c);
    if (!to.size) {
        api_fail(c, API_BAD_REQUEST, "to_namespace is missing: the namespace to compare with");
        return;
    }
    if (!api_page_check(c) || !api_authorize_prefix(c, GUARD_CONFIG, to, group, prefix))
        return;
    struct compare_call *s = arena_new(&c->q->arena, sizeof *s);
    s->call = c;
    s->writer = (struct json_writer){.out = &s->list};
    jw_open(&s->writer, '[');
    api_page_begin(&s->page, c);
    s->compare = (struct config_compare){
        .request = {.done = on_compare_done, .who = api_who(c), .author = api_author(c)},
        .compared = on_compared,
        .from = c->ns,
        .to = to,
        .group = group,
        .prefix = prefix,
        .after = buf_slice(&s->page.after),
        .limit = s->page.left,
    };
    c->state = s;
    c->cancel = cancel_compare;
    config_compare(api_config(c), &s->compare);
}

/* --- promote -------------------------------------------------------------------------------------------- */

static bool authorize_copies(struct api_call *c, const struct api_promotion *p)
{
    bool may = true;
    for (size_t i = 0; may && i < p->count; i++) {
        const struct config_copied *item = &p->list[i];
        may = api_authorize(c, GUARD_CONFIG, false, p->from, item->group, item->name) &&
              api_authorize(c, GUARD_CONFIG, true, p->to, item->group, item->name) &&
              (!api_has_param(c, PARAM_EMERGENCY) ||
               api_authorize(c, GUARD_EMERGENCY, true, p->to, item->group, item->name));
    }
    return may;
}

void api_promote_post(struct api_call *c)
{
    struct api_promotion p;
    char error[200] = "";
    json_t *root;
    if (!api_body(c, SCHEMA_PROMOTION, &root))
        return;
    int err = api_promotion_read(root, c->group, &c->q->arena, &p, error);
    json_decref(root);
    if (err)
        api_fail_err(c, err, error);
    else if (authorize_copies(c, &p))
        config_promote(api_config(c), api_config_request(c, api_answer_bundle), p.from, p.to, p.list, p.count,
                       p.note, api_is_dry(c));
}
