/* SPDX-License-Identifier: Apache-2.0
 * Shared by the config center's routes; see config_call.h. */
#include "server/api/config_call.h"

#include <stdio.h>

#include "base/text.h"
#include "server/api/config_body.h"
#include "server/api/private.h"

struct config *api_config(const struct api_call *c)
{
    return c->api->options.config;
}

struct config_id api_config_id(const struct api_call *c)
{
    return (struct config_id){c->ns, c->group, c->name};
}

/* --- requests ---------------------------------------------------------------------------------------- */

struct api_config_op {
    struct config_request request;
    struct api_call *call;
    void (*answer)(struct api_call *c, const struct config_result *result);
};

static void api_config_call_on_done(struct config_request *q, int err, const struct config_result *result)
{
    struct api_config_op *a = container_of(q, struct api_config_op, request);
    if (err)
        api_config_fail(a->call, err, result);
    else
        a->answer(a->call, result);
}

static void api_config_call_cancel(struct api_call *c)
{
    struct api_config_op *a = c->state;
    config_cancel(api_config(c), &a->request);
}

static void capture_answer(struct config_request *q, const struct config_result *result, struct buf *out)
{
    struct api_config_op *a = container_of(q, struct api_config_op, request);
    api_once_capture(a->call, out);
    a->answer(a->call, result);
    api_once_capture(a->call, NULL);
}

struct config_request *
api_config_request(struct api_call *c, void (*answer)(struct api_call *c, const struct config_result *result))
{
    struct api_config_op *a = arena_new(&c->q->arena, sizeof *a);
    a->request.done = api_config_call_on_done;
    a->request.who = api_who(c);
    a->request.author = api_author(c);
    a->request.emergency = api_param(c, PARAM_EMERGENCY);
    a->request.once = api_once_for_config(c, capture_answer);
    a->call = c;
    a->answer = answer;
    c->state = a;
    c->cancel = api_config_call_cancel;
    return &a->request;
}

void api_config_fail(struct api_call *c, int err, const struct config_result *result)
{
    struct api_detail detail = {0};
    struct buf current = {0};
    enum api_error error = api_error_of(err);
    if (error == API_OUTCOME_UNKNOWN && c->route->method == HTTP_GET)
        error = API_UNAVAILABLE;
    if (result && (err == ERR_PRECONDITION || err == ERR_CONFLICT) && result->head)
        config_head_write(result->head, &current);
    if (result && err == ERR_MALFORMED) {
        detail.line = result->where.line;
        detail.column = result->where.column;
    }
    if (result)
        detail.name = result->key.name;
    detail.current = buf_slice(&current);
    api_fail_with(c, error, result ? result->error : NULL, &detail);
    buf_done(&current);
}

bool api_config_annotation(struct api_call *c, enum api_annotation_kind kind, struct api_annotation *ret)
{
    char error[200];
    int err = api_annotation_read(buf_slice(&c->q->body), kind, &c->q->arena, ret, error);
    if (err)
        api_fail_err(c, err, error);
    return !err;
}

/* --- request fields --------------------------------------------------------------------------------- */

bool api_config_tag(const char *md5, uint8_t *ret_tag)
{
    for (size_t i = 0; i < DIGEST_MD5_SIZE / 2; i++) {
        const uint8_t *digits = (const uint8_t *)md5 + 2 * i;
        uint32_t byte;
        if (!text_hex(digits, digits + 2, 2, &byte))
            return false;
        ret_tag[i] = (uint8_t)byte;
    }
    return true;
}

bool api_config_condition(struct api_call *c, struct config_condition *ret)
{
    const struct slice match = c->q->if_match, none = c->q->if_none_match;
    *ret = (struct config_condition){0};
    if (match.size) {
        bool is_quoted = match.size > 2 && match.data[0] == '"' && match.data[match.size - 1] == '"';
        ret->if_md5 = is_quoted ? slice_of(match.data + 1, match.size - 2) : (struct slice){0};
        if (!digest_is_md5(ret->if_md5)) {
            api_fail(c, API_BAD_REQUEST, "If-Match is not one md5 in quotes, as ETag gives it");
            return false;
        }
    }
    if (none.size && !slice_equal(none, slice_text("*"))) {
        api_fail(c, API_BAD_REQUEST, "If-None-Match of a write must be *");
        return false;
    }
    ret->if_absent = none.size > 0;
    ret->has_seq = api_has_param(c, PARAM_IF_SEQ);
    ret->if_seq = api_number(api_param(c, PARAM_IF_SEQ));
    ret->has_revision = api_has_param(c, PARAM_IF_REVISION);
    ret->if_revision = (int64_t)api_number(api_param(c, PARAM_IF_REVISION));
    return true;
}

/* text/plain and application/octet-stream are defaults that programs send: the existing format goes first. */
int api_config_format(const struct api_call *c, bool *ret_is_known, enum format *ret_format)
{
    const struct slice type = c->q->content_type, explicit = api_param(c, PARAM_TYPE);
    const struct config_id key = api_config_id(c);
    enum format by_type;
    *ret_is_known = true;
    if (explicit.size)
        return format_find(explicit, type, c->name, ret_format);
    if (format_find((struct slice){0}, type, (struct slice){0}, &by_type))
        by_type = FORMAT_TEXT;
    *ret_is_known = (by_type != FORMAT_TEXT && by_type != FORMAT_BIN) || !config_find(api_config(c), &key);
    return format_find((struct slice){0}, type, c->name, ret_format);
}

static bool comes_before(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order < 0 : a.size < b.size;
}

/* Sorts the labels; of equal keys the first stays. The text was checked before. */
void api_config_labels(struct api_call *c, struct document_map *ret)
{
    struct slice rest = api_param(c, PARAM_LABELS), key, value;
    ret->list = arena_new(&c->q->arena, (rest.size / 2 + 1) * sizeof *ret->list);
    while (rest.size && api_next_label(&rest, &key, &value)) {
        size_t at = 0;
        while (at < ret->count && comes_before(ret->list[at].key, key))
            at++;
        if (at < ret->count && slice_equal(ret->list[at].key, key))
            continue;
        memmove(&ret->list[at + 1], &ret->list[at], (ret->count++ - at) * sizeof *ret->list);
        ret->list[at] = (struct document_pair){key, value};
    }
}
