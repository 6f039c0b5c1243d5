/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a request of the native API before its handler runs. The target's path and query go through
 * the table of routes, then the body goes through the reader of the route's document. The first byte is the
 * method, then comes the target up to a newline, and the rest is the body. */
#include <assert.h>
#include <stdlib.h>

#include "registry/registry.h"
#include "server/api/config_body.h"
#include "server/api/table.h"
#include "server/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A request that passed the check has the form that the handlers count on. */
static void values(const struct api_route *route, struct slice query)
{
    const struct http_request q = {.query = query};
    char error[200];
    for (int p = 0; p < PARAMS; p++) {
        size_t at = 0;
        struct slice value;
        unsigned times = 0;
        if (!(route->params >> p & 1))
            continue;
        while (http_query_next(&q, api_params[p].name, &at, &value)) {
            times++;
            assert(api_check_value((enum api_param)p, value, error, sizeof error) == OK);
            assert(api_params[p].type != TYPE_PAIR || memchr(value.data, '=', value.size));
            assert(api_params[p].type != TYPE_DURATION || api_duration_ms(value) <= API_WAIT_MAX_S * 1000);
            assert(api_params[p].type != TYPE_COUNT ||
                   (api_number(value) >= 1 && api_number(value) <= API_COUNT_MAX));
            assert(api_params[p].type != TYPE_REVISION || api_number(value) <= INT64_MAX);
        }
        assert(times <= api_repeats_max((enum api_param)p));
    }
}

/* A document that was read strictly, then written and read again, is the same bytes. */
#define ROUND_TRIP(kind, text)                                                                               \
    do {                                                                                                     \
        struct kind first, second;                                                                           \
        struct buf a = {0}, b = {0};                                                                         \
        if (kind##_read(text, DOCUMENT_STRICT, &arena, &first, error, sizeof error) == OK) {                 \
            kind##_write(&first, &a);                                                                        \
            int err = kind##_read(buf_slice(&a), DOCUMENT_TOLERANT, &arena, &second, error, sizeof error);   \
            assert(err == OK);                                                                               \
            kind##_write(&second, &b);                                                                       \
            assert(slice_equal(buf_slice(&a), buf_slice(&b)));                                               \
        } else {                                                                                             \
            assert(strlen(error) > 0 && strlen(error) < sizeof error);                                       \
        }                                                                                                    \
        buf_done(&a);                                                                                        \
        buf_done(&b);                                                                                        \
    } while (0)

/* Each item has a name, and its needs have the form that the public API counts on. */
static void bundle(struct slice text)
{
    const struct config_id standard = {slice_text("n"), slice_text("g"), {0}};
    char error[200] = "";
    struct arena arena = {0};
    struct api_bundle b = {.only_validate = text.size % 2};
    json_t *root;
    if (json_parse(text, &root, error, sizeof error))
        return;
    int err = json_is_object(root) ? api_bundle_read(root, &standard, &arena, &b, error) : ERR_INVALID;
    assert(err == OK || err == ERR_INVALID || err == ERR_MALFORMED);
    for (size_t i = 0; !err && i < b.publish_count; i++) {
        const struct config_publish *p = &b.publish[i];
        assert(p->key.ns.size && p->key.group.size && p->key.name.size &&
               p->only_validate == b.only_validate);
        assert(!p->condition.if_md5.size || digest_is_md5(p->condition.if_md5));
        assert(p->condition.has_seq || !p->condition.if_seq);
        assert(p->note.size <= CONFIG_NOTE_MAX);
    }
    for (size_t i = 0; !err && i < b.remove_count; i++) {
        assert(b.remove[i].key.name.size && !b.remove[i].condition.if_absent);
        assert(!b.remove[i].condition.if_md5.size || digest_is_md5(b.remove[i].condition.if_md5));
    }
    json_decref(root);
    arena_done(&arena);
}

static void said(struct slice text, enum api_annotation_kind kind)
{
    char error[200] = "";
    struct arena arena = {0};
    struct api_annotation s;
    int err = api_annotation_read(text, kind, &arena, &s, error);
    assert(err == OK || err == ERR_INVALID || err == ERR_MALFORMED);
    assert(!err == !*error);
    assert(err || kind != ANNOTATION_SEQ || s.seq > 0);
    assert(err || kind != ANNOTATION_REVIEW || s.draft_revision > 0);
    assert(err || kind == ANNOTATION_PUBLISH || (!s.title.size && !s.has_at));
    arena_done(&arena);
}

static void rollout(struct slice text)
{
    char error[200] = "";
    struct arena arena = {0};
    struct workflow_rollout_request q;
    struct workflow_rollout back;
    struct buf once = {0}, twice = {0};
    int err = workflow_rollout_request_read(text, &arena, &q, error, sizeof error);
    assert(!err == !*error);
    if (!err) {
        q.rollout.seq = q.rollout.seq ? q.rollout.seq : 1;
        assert(q.rollout.step_count && q.rule.percent == q.rollout.steps[0].percent);
        workflow_rollout_write(&q.rollout, &once);
        err = workflow_rollout_read(buf_slice(&once), &arena, &back);
        assert(err == OK || !q.rollout.rule.size);
    }
    if (!err && once.size) {
        workflow_rollout_write(&back, &twice);
        assert(slice_equal(buf_slice(&once), buf_slice(&twice)));
    }
    buf_done(&once);
    buf_done(&twice);
    arena_done(&arena);
}

static void policy(struct slice text)
{
    char error[200] = "";
    struct arena arena = {0};
    struct workflow_policy p, back;
    struct buf once = {0};
    int err = workflow_policy_request_read(text, &arena, &p, error, sizeof error);
    assert(!err == !*error);
    if (!err) {
        workflow_policy_write(&p, &once);
        err = workflow_policy_read(buf_slice(&once), &arena, &back);
        assert(err == OK && back.count == p.count);
        bool matches = workflow_policy_matches(&p, slice_text("g"), text);
        assert(matches == workflow_policy_matches(&back, slice_text("g"), text));
    }
    buf_done(&once);
    arena_done(&arena);
}

static void body(enum api_schema schema, struct slice text)
{
    char error[200] = "";
    struct arena arena = {0};
    if (schema == SCHEMA_INSTANCE)
        ROUND_TRIP(instance, text);
    else if (schema == SCHEMA_OVERRIDE)
        ROUND_TRIP(override, text);
    else if (schema == SCHEMA_SETTINGS)
        ROUND_TRIP(settings, text);
    else if (schema == SCHEMA_SESSION)
        ROUND_TRIP(session, text);
    else if (schema == SCHEMA_BUNDLE)
        bundle(text);
    else if (schema == SCHEMA_ROLLOUT)
        rollout(text);
    else if (schema == SCHEMA_POLICY)
        policy(text);
    else if (schema == SCHEMA_ROLLBACK || schema == SCHEMA_DRAFT_PUBLISH || schema == SCHEMA_PROMOTE ||
             schema == SCHEMA_REVIEW_DECISION)
        said(text, schema == SCHEMA_ROLLBACK          ? ANNOTATION_SEQ
                   : schema == SCHEMA_DRAFT_PUBLISH   ? ANNOTATION_PUBLISH
                   : schema == SCHEMA_REVIEW_DECISION ? ANNOTATION_REVIEW
                                                      : ANNOTATION_NOTE);
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_method methods[] = {HTTP_GET, HTTP_HEAD,   HTTP_POST,
                                               HTTP_PUT, HTTP_DELETE, HTTP_PATCH};
    const uint8_t *end = size > 1 ? memchr(data + 1, '\n', size - 1) : NULL;
    struct buf text = {0};
    struct slice path, query = {0};
    char error[200] = "", allow[64];
    if (!end || end == data + 1)
        return 0;
    enum http_method method = methods[data[0] % (sizeof methods / sizeof *methods)];
    if (http_target_split(slice_of(data + 1, (size_t)(end - data) - 1), &text, &path, &query) == OK) {
        struct api_match m = api_route_find(method, path);
        api_methods_text(m.methods, allow, sizeof allow);
        assert((m.methods == 0) == (allow[0] == 0));
        assert(!m.route || (m.methods & (unsigned)m.route->method));
        for (size_t i = 0; m.route && i < m.name_count; i++)
            assert(m.names[i].param < PARAMS && m.names[i].value.size &&
                   !memchr(m.names[i].value.data, '/', m.names[i].value.size));
        enum api_error wrong =
            m.route ? api_check_query(m.route, query, error, sizeof error) : API_BAD_REQUEST;
        if (wrong == API_ERRORS)
            values(m.route, query);
        if (m.route)
            body(m.route->body, slice_of(end + 1, size - (size_t)(end - data) - 1));
    }
    buf_done(&text);
    return 0;
}
