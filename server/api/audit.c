/* SPDX-License-Identifier: Apache-2.0
 * The audit trail in HTTP: pages of its changes, the newest first, filtered; and the reports of refused
 * writes.
 *
 * A page ends when it has `limit` changes, PAGE_BYTES of text, or after EXAMINED_MAX records. Then `continue`
 * leads on, also from a page without any change. */
#include <stdio.h>

#include "base/text.h"
#include "consensus/audit.h"
#include "server/api/config_call.h"
#include "server/api/slice.h"

enum {
    RECORDS = 64,         /* read at once */
    EXAMINED_MAX = 20000, /* records a page */
    PAGE_BYTES = 512 * 1024,
    PLACE_SIZE = AUDIT_KEY_SIZE - (sizeof AUDIT_PREFIX - 1)
};

struct audit_page {
    struct config_request request;
    struct api_call *call;
    struct audit_filter filter;
    struct buf from, to; /* keys; to: exclusive */
    struct buf list;
    struct json_writer writer;
    int64_t revision;
    size_t left, examined;
};

/* --- a page ------------------------------------------------------------------------------------------- */

static struct audit_filter read_filter(const struct api_call *c)
{
    static const enum api_param params[AUDIT_FIELDS] = {[AUDIT_KIND] = PARAM_KIND,
                                                        [AUDIT_USER] = PARAM_USER,
                                                        [AUDIT_NAME] = PARAM_AUDIT_NAME,
                                                        [AUDIT_NAMESPACE] = PARAM_AUDIT_NAMESPACE};
    struct audit_filter f = {0};
    for (size_t i = 0; i < AUDIT_FIELDS; i++) {
        f.has[i] = api_has_param(c, params[i]);
        f.texts[i] = api_param(c, params[i]);
    }
    return f;
}

static void audit_answer(struct audit_page *p, bool has_more)
{
    struct api_call *c = p->call;
    struct buf list = buf_move(&p->list);
    struct json_writer *w = api_json(c, p->revision);
    buf_add_byte(&list, ']');
    jw_key(w, "changes");
    jw_raw(w, buf_slice(&list));
    if (has_more) /* the last key that was examined, and a NUL behind it */
        document_add_text(w, "continue", slice_of(p->from.data + sizeof AUDIT_PREFIX - 1, PLACE_SIZE));
    buf_done(&list);
    buf_done(&p->from);
    buf_done(&p->to);
    api_answer(c, p->revision);
}

static ProtobufCBinaryData bytes_of(const struct buf *b)
{
    return (ProtobufCBinaryData){b->size, b->data};
}

/* Reads some records. True: there may be more. */
static bool read_some(struct audit_page *p, int *ret_err)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    m.key = bytes_of(&p->from);
    m.range_end = bytes_of(&p->to);
    m.limit = RECORDS;
    size_t i = 0;
    *ret_err = kv_range_page(api_kv(p->call), &m, &a, &response);
    for (; !*ret_err && i < response->n_kvs && p->left && p->list.size < PAGE_BYTES; i++) {
        const Mvccpb__KeyValue *kv = response->kvs[i];
        size_t count = audit_write_changes(kv, &p->filter, &p->writer);
        p->left -= count < p->left ? count : p->left;
        p->examined++;
        buf_clear(&p->from);
        buf_add(&p->from, kv->key.data, kv->key.len);
        buf_add_byte(&p->from, 0);
    }
    bool has_more = !*ret_err && (i < response->n_kvs || i == RECORDS);
    arena_done(&a);
    return has_more;
}

static void audit_step(struct api_call *c)
{
    struct audit_page *p = c->state;
    bool has_more = true;
    int err = OK;
    while (has_more && p->left && p->list.size < PAGE_BYTES && p->examined < EXAMINED_MAX) {
        if (api_slice_is_over(c)) {
            api_slice_later(c, audit_step);
            return;
        }
        has_more = read_some(p, &err);
    }
    if (err)
        api_fail_err(c, err, NULL);
    else
        audit_answer(p, has_more);
}

static void audit_on_barrier(struct config_request *q, int err, const struct config_result *result)
{
    struct audit_page *p = container_of(q, struct audit_page, request);
    if (err) {
        api_config_fail(p->call, err, result);
        return;
    }
    p->revision = kv_revision(api_kv(p->call));
    api_slice_later(p->call, audit_step);
}

static void audit_cancel(struct api_call *c)
{
    struct audit_page *p = c->state;
    config_cancel(api_config(c), &p->request);
    api_slice_never(c);
    buf_done(&p->list);
    buf_done(&p->from);
    buf_done(&p->to);
}

static bool is_place(struct slice text)
{
    bool is_good = text.size == PLACE_SIZE;
    for (size_t i = 0; is_good && i < text.size; i++)
        is_good = text.data[i] && strchr("0123456789abcdef-", text.data[i]);
    return is_good;
}

static int64_t moment(const struct api_call *c, enum api_param p, int64_t standard)
{
    return api_has_param(c, p) ? (int64_t)api_number(api_param(c, p)) : standard;
}

void api_audit_get(struct api_call *c)
{
    struct slice place = api_param(c, PARAM_CONTINUE);
    if (!api_audit(c)) {
        api_fail(c, API_NOT_FOUND, "this member keeps no audit trail (--audit)");
        return;
    }
    if (api_has_param(c, PARAM_CONTINUE) && !is_place(place)) {
        api_fail(c, API_BAD_REQUEST, "continue is not from an earlier answer");
        return;
    }
    struct audit_page *p = arena_new(&c->q->arena, sizeof *p);
    p->call = c;
    p->filter = read_filter(c);
    p->left = (size_t)api_number(api_param(c, PARAM_LIMIT));
    p->writer = (struct json_writer){.out = &p->list};
    jw_open(&p->writer, '[');
    if (place.size) {
        buf_add_text(&p->from, AUDIT_PREFIX);
        buf_add_slice(&p->from, place);
        buf_add_byte(&p->from, 0);
    } else {
        audit_key_from(moment(c, PARAM_SINCE_END, INT64_MAX), &p->from);
    }
    audit_key_from(moment(c, PARAM_SINCE, 1) - 1, &p->to);
    p->request.done = audit_on_barrier;
    c->state = p;
    c->cancel = audit_cancel;
    config_barrier(api_config(c), &p->request);
}

/* --- refusals ------------------------------------------------------------------------------------------ */

static const char *kind_of(const struct api_call *c)
{
    static const struct {
        unsigned flag;
        const char *kind;
    } kinds[] = {
        {OF_CONFIG | OF_DRAFT | OF_REVIEW | OF_POLICY | OF_SCHEMA, "config"},
        {OF_OVERRIDE, "override"},
        {OF_SETTINGS, "service"},
        {OF_INSTANCE, "instance"},
        {OF_NAMESPACE, "namespace"},
        {OF_SESSIONS, "session"},
        {OF_SESSION, "session"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (c->route->flags & kinds[i].flag)
            return kinds[i].kind;
    return c->service.size ? "instance" : "config"; /* of a list; of bundles and imports */
}

void api_audit_refusal(const struct api_call *c, enum api_error error)
{
    int status = api_errors[error].status;
    if (!c->route || api_route_reads(c->route) || (status != 401 && status != 403))
        return;
    struct audit_change change = {.kind = kind_of(c),
                                  .operation = c->route->name,
                                  .ns = c->ns,
                                  .group = c->group,
                                  .name = c->name.size ? c->name : c->service,
                                  .id = c->id};
    const struct audit_record record = {
        .author = api_author(c), .error = slice_text(api_errors[error].code), .changes = &change, .count = 1};
    audit_refused(api_audit(c), &record);
}
