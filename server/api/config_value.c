/* SPDX-License-Identifier: Apache-2.0
 * Answers with one value of a content; see config_value.h. */
#include "server/api/config_value.h"

#include <stdio.h>

#include "config/task.h"
#include "config/value/value.h"
#include "server/api/read.h"

#define VALUE_BYTES_MAX (8u << 20) /* of an answer: aliases can repeat much */

/* The worker's data: copies, and the result. */
struct value_task {
    struct task task;      /* first */
    struct api_call *call; /* NULL: it has left */
    struct arena arena;
    struct slice content, key;
    enum format format;
    int64_t revision;
    bool has_tag;
    uint8_t tag[API_DIGEST_SIZE]; /* the content's md5 */
    enum api_error error;         /* API_ERRORS: the value is in out */
    char why[400];
    struct buf out;
};

static enum api_error find_value(struct value_task *k)
{
    struct value_tree t = {0};
    struct format_error where = {0};
    const struct value *v;
    struct json_writer w = {.out = &k->out};
    enum api_error error = API_ERRORS;
    int err = format_check(k->format, k->content, &where);
    if (!err)
        err = value_read(k->format, k->content, &t, &where);
    if (err) {
        snprintf(k->why, sizeof k->why, "this content has no keys: %s", where.text);
        error = API_BAD_REQUEST;
    } else if (t.document_count != 1) {
        snprintf(k->why, sizeof k->why, "this content has %zu documents; a key is of one alone",
                 t.document_count);
        error = API_BAD_REQUEST;
    } else if ((err = value_find(k->format, t.documents[0], k->key, &v, k->why, sizeof k->why))) {
        error = err == ERR_NOT_FOUND ? API_NOT_FOUND : API_BAD_REQUEST;
    } else if (!value_write(v, &w, VALUE_BYTES_MAX)) {
        snprintf(k->why, sizeof k->why, "the value has more than 8 MiB as JSON");
        error = API_TOO_LARGE;
    }
    value_tree_done(&t);
    return error;
}

static void run_value(struct task *t)
{
    struct value_task *k = container_of(t, struct value_task, task);
    k->error = find_value(k);
}

static void on_value(struct task *t)
{
    struct value_task *k = container_of(t, struct value_task, task);
    struct api_call *c = k->call;
    if (k->error == API_ERRORS && k->has_tag)
        api_add_etag(c, k->tag); /* the same content has the same value */
    if (k->error == API_ERRORS)
        api_respond(c, 200, k->revision, NULL, buf_slice(&k->out));
    else
        api_fail(c, k->error, k->why);
}

static void release_value(struct task *t)
{
    struct value_task *k = container_of(t, struct value_task, task);
    arena_done(&k->arena);
    buf_done(&k->out);
    mem_free(k);
}

static void cancel_value(struct api_call *c)
{
    struct value_task *k = c->state;
    task_cancel(&k->task);
}

static struct slice copy(struct arena *a, struct slice s)
{
    return slice_of(arena_copy(a, s.data, s.size), s.size);
}

void api_show_value(struct api_call *c, int64_t revision, const struct config_release *release)
{
    uint8_t tag[API_DIGEST_SIZE];
    bool has_tag = api_config_tag(release->digest.md5, tag);
    const struct config_request who = {.who = api_who(c), .author = api_author(c)};
    if (api_has_param(c, PARAM_META)) {
        api_fail(c, API_BAD_REQUEST, "key and meta exclude each other");
        return;
    }
    if (has_tag && api_has_tag(c, tag) && !api_has_param(c, PARAM_WAIT_REVISION)) {
        api_add_etag(c, tag);
        api_respond(c, 304, revision, NULL, (struct slice){0});
        return;
    }
    struct value_task *k = mem_new(sizeof *k);
    k->call = c;
    k->revision = revision;
    k->format = release->format;
    k->has_tag = has_tag;
    memcpy(k->tag, tag, sizeof tag);
    k->content = copy(&k->arena, release->content);
    k->key = copy(&k->arena, api_param(c, PARAM_KEY));
    k->task = (struct task){
        .bytes = release->content.size, .run = run_value, .done = on_value, .release = release_value};
    int err = config_task_add(api_config(c), &k->task, &who);
    if (err) {
        release_value(&k->task);
        api_fail_err(c, err, "too many contents wait to be read or checked on this member: try again later");
        return;
    }
    c->state = k;
    c->cancel = cancel_value;
    c->expired = NULL;
    c->drain = NULL;
}
