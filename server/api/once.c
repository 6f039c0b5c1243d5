/* SPDX-License-Identifier: Apache-2.0
 * Idempotency-Key: a POST whose row has TAKES_KEY, sent again with the same key by the same user, gets the
 * first answer and changes nothing (consensus/idempotency.h).
 *
 *   1. Before the handler runs, the record is read linearizably. There is one: it has the answer, or the
 *      request is another one (422).
 *   2. The handler's write puts the record in its own transaction, with the answer as api_once_capture made
 *      it. The answer is kept without its revision: that of the record is the same.
 *   3. An error of the handler that a first request may have caused (the draft is gone) is held back until
 *      the record was read again.
 *
 * Errors leave no record: nothing was done, so the same key may be tried again. */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mutant.h"
#include "consensus/idempotency.h"
#include "server/api/call.h"
#include "server/api/private.h"

enum { KEY_MAX = 256 };

struct api_once {
    struct api_call *call;
    struct slice key; /* of the store */
    char digest[IDEMPOTENCY_DIGEST_SIZE + 1];
    struct kv_request request;
    Etcdserverpb__RangeRequest message;
    struct buf *captured; /* the answer goes here instead of to the client */
    bool has_begun;       /* the handler has run */
    /* An answer that waits until the record was read again. */
    bool was_read_again;
    int status;
    int64_t revision;
    const char *type;
    struct slice body;
};

/* Everything that decides what the request does. */
static void make_digest(const struct api_call *c, char ret_digest[IDEMPOTENCY_DIGEST_SIZE + 1])
{
    const struct http_request *q = c->q;
    const struct slice parts[] = {
        slice_text(c->route->name), q->path, q->query, q->if_match, q->if_none_match, buf_slice(&q->body)};
    uint8_t digest[IDEMPOTENCY_DIGEST_SIZE / 2];
    struct sha256 *s = sha256_new();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t size = parts[i].size;
        sha256_add(s, &size, sizeof size);
        if (size)
            sha256_add(s, parts[i].data, parts[i].size);
    }
    sha256_finish(s, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(ret_digest + 2 * i, 3, "%02x", digest[i]);
}

/* --- the record ------------------------------------------------------------------------------------------ */

static void replay(struct api_call *c, const struct idempotency_record *r, int64_t revision)
{
    struct buf body = {0};
    if (!slice_equal(r->digest, slice_text(c->once->digest)) && !MUTANT(IDEMPOTENCY_BODY_IGNORED)) {
        api_fail(c, API_KEY_REUSED, NULL);
        return;
    }
    buf_addf(&body, "{\"revision\":%" PRId64, revision);
    buf_add_slice(&body, r->answer);
    http_add_header(c->q, "Idempotent-Replayed", "true");
    api_respond(c, 200, revision, NULL, buf_slice(&body));
    buf_done(&body);
}

/* True: the call was answered from the record. */
static bool answer_from(struct api_call *c, const Etcdserverpb__RangeResponse *response)
{
    struct idempotency_record record;
    if (!response->n_kvs)
        return false;
    const Mvccpb__KeyValue *kv = response->kvs[0];
    c->once->was_read_again = true; /* no error of this answer is held back */
    if (idempotency_read(slice_of(kv->value.data, kv->value.len), &c->q->arena, &record))
        api_fail(c, API_CONFLICT, "the record of this idempotency key cannot be read");
    else
        replay(c, &record, kv->mod_revision);
    return true;
}

static void begin_handler(struct api_call *c)
{
    char error[200];
    int err = idempotency_admit(c->api->options.idempotency, c->once->key, error, sizeof error);
    c->once->has_begun = true;
    if (err)
        api_fail_err(c, err, error);
    else
        c->route->handle(c);
}

static void on_first_read(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct api_call *c = container_of(r, struct api_once, request)->call;
    c->cancel = NULL;
    if (err)
        api_fail(c, err == ERR_NO_LEADER ? API_NO_LEADER : API_UNAVAILABLE, NULL); /* nothing was done */
    else if (!answer_from(c, (const Etcdserverpb__RangeResponse *)message))
        begin_handler(c);
}

static void on_read_again(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct api_once *o = container_of(r, struct api_once, request);
    struct api_call *c = o->call;
    c->cancel = NULL;
    o->was_read_again = true;
    if (err || !answer_from(c, (const Etcdserverpb__RangeResponse *)message))
        api_respond(c, o->status, o->revision, o->type, o->body);
}

static void cancel_read(struct api_call *c)
{
    kv_cancel(api_kv(c), &c->once->request);
}

static void read_record(struct api_call *c,
                        void (*done)(struct kv_request *r, int err, const ProtobufCMessage *m))
{
    struct api_once *o = c->once;
    etcdserverpb__range_request__init(&o->message);
    o->message.key = (ProtobufCBinaryData){o->key.size, (uint8_t *)(uintptr_t)o->key.data};
    o->request = (struct kv_request){.done = done};
    c->cancel = cancel_read;
    kv_range(api_kv(c), &o->request, &o->message);
    c->api->has_read = true; /* it may come from the middle of a turn */
}

/* --- the call -------------------------------------------------------------------------------------------- */

static bool is_valid(struct slice key)
{
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~')
            return false;
    return key.size && key.size <= KEY_MAX;
}

bool api_once_begin(struct api_call *c)
{
    const struct http_request *q = c->q;
    struct buf key = {0};
    if (!q->idempotency_keys || q->method != HTTP_POST || (c->route->flags & IS_READ))
        return false;
    if (!(c->route->flags & TAKES_KEY)) {
        api_fail(c, API_BAD_REQUEST,
                 "this route takes no Idempotency-Key: see the routes that have it in /openapi.json");
        return true;
    }
    if (q->idempotency_keys > 1 || !is_valid(q->idempotency_key)) {
        api_fail(c, API_BAD_REQUEST, "Idempotency-Key is not one text of 1 to 256 visible ASCII characters");
        return true;
    }
    if (!api_kv(c) || api_has_param(c, PARAM_VALIDATE))
        return false; /* a check writes nothing */
    struct api_once *o = c->once = arena_new(&c->q->arena, sizeof *o);
    o->call = c;
    const struct author author = api_author(c);
    idempotency_add_key(author.name, q->idempotency_key, &key);
    o->key = slice_of(arena_copy(&c->q->arena, key.data, key.size), key.size);
    buf_done(&key);
    make_digest(c, o->digest);
    read_record(c, on_first_read);
    return true;
}

struct config_once *api_once_for_config(struct api_call *c,
                                        void (*answer)(struct config_request *q,
                                                       const struct config_result *result, struct buf *out))
{
    if (!c->once)
        return NULL;
    struct config_once *once = arena_new(&c->q->arena, sizeof *once);
    *once = (struct config_once){c->once->key, slice_text(c->once->digest), answer};
    return once;
}

void api_once_capture(struct api_call *c, struct buf *out)
{
    c->once->captured = out;
}

/* Errors that an earlier request with the same key may have caused. */
static bool may_be_repeated(int status)
{
    return status == 403 || status == 404 || status == 409 || status == 412;
}

bool api_once_takes(struct api_call *c, int status, int64_t revision, const char *type, struct slice body)
{
    struct api_once *o = c->once;
    if (!o)
        return false;
    if (o->captured) { /* {"revision":7,...}: behind the number */
        size_t at = sizeof "{\"revision\":" - 1;
        while (at < body.size && (body.data[at] == '-' || (body.data[at] >= '0' && body.data[at] <= '9')))
            at++;
        buf_add(o->captured, body.data + at, body.size - at);
        return true;
    }
    if (!o->has_begun || o->was_read_again || !may_be_repeated(status))
        return false;
    o->status = status;
    o->revision = revision;
    o->type = type;
    o->body = slice_of(arena_copy(&c->q->arena, body.data, body.size), body.size);
    read_record(c, on_read_again);
    return true;
}
