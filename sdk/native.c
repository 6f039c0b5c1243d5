/* SPDX-License-Identifier: Apache-2.0
 * Blocking requests of the native API: any HTTP request, and the config center's get and publish. */
#include <ctype.h>
#include <stdio.h>

#include "sdk/native_call.h"

struct native {
    struct post post;
    struct cairn_client *client;
    char *method, *path, *fields;
    struct buf body;
    uint32_t timeout_ms;
    struct cancel_op canceling;
    struct waiter *waiter; /* or a callback */
    void (*callback)(struct cairn_http_result *result, const struct cairn_error *error, void *arg);
    void *arg;
};

static void native_free(struct native *n)
{
    cancel_end(&n->canceling);
    mem_free(n->method);
    mem_free(n->path);
    mem_free(n->fields);
    buf_done(&n->body);
    mem_free(n);
}

static void sdk_native_on_end(struct native_call *q, const struct cairn_error *error)
{
    struct native *n = q->owner;
    struct cairn_http_result *r = NULL;
    struct arena *a;
    if (!error->code) {
        r = result_new(sizeof *r, &a);
        r->status = q->answer.status;
        r->body = (struct cairn_bytes){arena_string(a, q->body.data, q->body.size), q->body.size};
        r->fields = arena_string(a, q->answer.head.data, q->answer.head_size);
    }
    if (n->waiter)
        waiter_end(n->waiter, r, error);
    else
        n->callback(r, error, n->arg);
    native_free(n);
}

static void sdk_native_start_here(struct post *p)
{
    struct native *n = container_of(p, struct native, post);
    struct native_call *q = native_call_new(n->client, n->method, n->path);
    q->fields = n->fields;
    q->owner = n;
    q->on_end = sdk_native_on_end;
    q->request = buf_move(&n->body);
    q->canceling.cancel = n->canceling.cancel; /* moved */
    n->canceling.cancel = NULL;
    native_call_start(q, n->timeout_ms);
}

/* True if the text cannot begin another line or another request. */
static bool is_token(const char *text)
{
    size_t n = 0;
    for (; text[n]; n++)
        if (!isgraph((unsigned char)text[n]))
            return false;
    return n > 0 && n < 32768;
}

static int native_new(struct cairn_client *c, const struct cairn_http_request *q,
                      const struct cairn_call_options *options, struct native **ret,
                      struct cairn_error *error)
{
    if (!q->method || !is_token(q->method) || !q->path || q->path[0] != '/' || !is_token(q->path))
        return set_error(error, CAIRN_INVALID,
                         "method is GET, PUT and such, path begins with / and is percent-encoded");
    struct native *n = mem_new(sizeof *n);
    n->timeout_ms = c->command_timeout_ms;
    int err = call_options_take(c, options, &n->timeout_ms, &n->canceling, error);
    if (err) {
        mem_free(n);
        return err;
    }
    if (q->timeout_ms)
        n->timeout_ms = q->timeout_ms;
    n->post.run = sdk_native_start_here;
    n->client = c;
    n->method = mem_string(q->method);
    n->path = mem_string(q->path);
    n->fields = q->fields ? mem_string(q->fields) : NULL;
    buf_add(&n->body, q->body.data, q->body.size);
    *ret = n;
    return CAIRN_OK;
}

int cairn_http_with(struct cairn_client *c, const struct cairn_http_request *request,
                    const struct cairn_call_options *options, struct cairn_http_result **ret,
                    struct cairn_error *error)
{
    struct waiter w = {0};
    struct native *n;
    void *result = NULL;
    int err = native_new(c, request, options, &n, error);
    if (err)
        return err;
    n->waiter = &w;
    err = waiter_run(&w, c, &n->post, ret ? &result : NULL, error);
    if (!w.was_posted)
        native_free(n);
    if (ret && !err)
        *ret = result;
    return err;
}

int cairn_http(struct cairn_client *c, const struct cairn_http_request *request,
               struct cairn_http_result **ret, struct cairn_error *error)
{
    return cairn_http_with(c, request, NULL, ret, error);
}

int cairn_http_async(struct cairn_client *c, const struct cairn_http_request *request,
                     const struct cairn_call_options *options,
                     void (*callback)(struct cairn_http_result *result, const struct cairn_error *error,
                                      void *arg),
                     void *arg)
{
    struct native *n;
    int err = native_new(c, request, options, &n, NULL);
    if (err)
        return err;
    n->callback = callback;
    n->arg = arg;
    err = client_post(c, &n->post); /* by the inbox also here: a callback never runs inside the call */
    if (err)
        native_free(n);
    return err;
}
