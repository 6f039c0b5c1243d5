/* SPDX-License-Identifier: Apache-2.0
 * Blocking requests of the native API: any HTTP request, and the config center's get and publish. */
#include <ctype.h>
#include <stdio.h>

#include "sdk/native_call.h"

struct native {
    struct post post;
    struct cairn_client *client;
    const struct cairn_http_request *request;
    struct waiter waiter;
};

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
    waiter_end(&n->waiter, r, error);
}

static void sdk_native_start_here(struct post *p)
{
    struct native *n = container_of(p, struct native, post);
    const struct cairn_http_request *r = n->request;
    struct native_call *q = native_call_new(n->client, r->method, r->path);
    q->fields = r->fields;
    q->owner = n;
    q->on_end = sdk_native_on_end;
    buf_add(&q->request, r->body.data, r->body.size);
    native_call_start(q, r->timeout_ms ? r->timeout_ms : n->client->command_timeout_ms);
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

int cairn_http(struct cairn_client *c, const struct cairn_http_request *request,
               struct cairn_http_result **ret, struct cairn_error *error)
{
    struct native n = {.post.run = sdk_native_start_here, .client = c, .request = request};
    void *result = NULL;
    if (!request->method || !is_token(request->method) || !request->path || request->path[0] != '/' ||
        !is_token(request->path))
        return set_error(error, CAIRN_INVALID,
                         "method is GET, PUT and such, path begins with / and is percent-encoded");
    int err = waiter_run(&n.waiter, c, &n.post, ret ? &result : NULL, error);
    if (ret && !err)
        *ret = result;
    return err;
}
