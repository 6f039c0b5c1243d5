/* SPDX-License-Identifier: Apache-2.0
 * Watch.Watch: one watch stream of the store for one call. Requests are handled when they come. Responses are
 * taken from the stream in rpc_server_turn, while the transport accepts more. The hub encodes events once for
 * all streams; only the header is added here.
 *
 * When the client closes its sending side, the watches continue (etcd's behaviour) until the client
 * disconnects. */
#include "base/buf_release.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "server/rpc/service.h"

enum {
    RESPONSES_PER_TURN = 256, /* of one stream; then other streams get their turn */
    PART_BYTES = 256 << 10,   /* of a long response */
    PARTS_PER_TURN = 2,       /* about half a millisecond */
    PIECES_MAX = sizeof(((struct watch_output *)0)->pieces) / sizeof(struct slice),
};

/* --- long responses ---------------------------------------------------------------------------------------- */
/* Without `fragment` a revision is one response, whatever its size; a fragment has up to 1.5 MiB. A long
 * response is composed in the call's buffer, some parts a turn, and sent when it is complete:
 *
 *   1. The call becomes the server's composer, or waits in `composing` until the calls before it are done.
 *      Reason: the transport's limits of unread bytes do not count what is being composed.
 *   2. Each turn takes PARTS_PER_TURN outputs of the watch stream.
 *   3. The last output sends the buffer and wakes the next call in `composing`.
 *
 * The buffer is released when the watcher loses its right meanwhile, or the call ends. */
static bool is_composing(const struct rpc_call *c)
{
    return c->gathered.size > 0;
}

/* Removes the call from `composing`, and stops it if it composes. */
static void end_composing(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    bool is_first = s->composer == c || (!s->composer && s->composing.next == &c->compose);
    list_remove(&c->compose);
    if (s->composer == c)
        s->composer = NULL;
    buf_release(&c->gathered);
    if (is_first && !list_is_empty(&s->composing))
        rpc_wake(container_of(s->composing.next, struct rpc_call, compose));
}

/* False: another call composes, or waits before this one. */
static bool may_compose(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    if (is_composing(c))
        return true;
    if (!link_is_in_list(&c->compose))
        list_add_last(&s->composing, &c->compose);
    return !s->composer && s->composing.next == &c->compose;
}

static void compose(struct rpc_call *c, const struct slice *pieces, size_t count, size_t left)
{
    struct buf *b = rpc_gathered(c);
    size_t size = left;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    (void)buf_reserve(b, size);
    for (size_t i = 0; i < count; i++)
        buf_add_slice(b, pieces[i]);
    if (!c->server->composer)
        c->server->composer = c;
    list_remove(&c->compose);
    if (left)
        return;
    rpc_send_gathered(c);
    end_composing(c);
}

/* --- all responses ----------------------------------------------------------------------------------------- */
static void send_output(struct rpc_call *c, const struct watch_output *out)
{
    uint8_t header_bytes[RPC_HEADER_MAX];
    struct slice pieces[1 + PIECES_MAX];
    Etcdserverpb__ResponseHeader header;
    memcpy(pieces + 1, out->pieces, out->count * sizeof *pieces);
    if (out->is_rest) {
        compose(c, pieces + 1, out->count, out->left);
        return;
    }
    kv_header(c->server->kv, out->header_revision, &header);
    pieces[0] = slice_of(header_bytes, rpc_header_encode(&header, header_bytes));
    end_composing(c); /* of a response that was dropped */
    if (out->left)
        compose(c, pieces, out->count + 1, out->left);
    else
        rpc_send_pieces(c, pieces, out->count + 1);
}

void rpc_watch_writable(struct rpc_call *c)
{
    struct watch_stream *s = c->state;
    struct watch_output out;
    for (unsigned i = 0, parts = 0; i < RESPONSES_PER_TURN && parts < PARTS_PER_TURN; i++) {
        if (rpc_is_congested(c) && !is_composing(c)) {
            end_composing(c);
            return;
        }
        if (watch_next_is_long(s, PART_BYTES) && !may_compose(c))
            return;
        if (!watch_next_part(s, PART_BYTES, &out)) {
            if (!is_composing(c))
                end_composing(c);
            return;
        }
        FAILPOINT(BEFORE_SEND_WATCH_RESPONSE);
        parts += out.is_rest || out.left;
        send_output(c, &out);
    }
    rpc_wake(c);
}

/* Limits the unread answers of a client that sends requests without reading. While a long response is
 * composed, each request composes more of it. False: the call is over. */
static bool rpc_watch_service_make_room(struct rpc_call *c)
{
    while (watch_is_full(c->state)) {
        if (rpc_is_congested(c) || link_is_in_list(&c->compose)) {
            rpc_abort(c, ERR_TOO_MANY_REQUESTS);
            return false;
        }
        rpc_watch_writable(c);
        if (is_composing(c))
            return true;
    }
    return true;
}

/* Creates a watcher. Permissions are checked for the normalised range, as the hub watches it: no key means the
 * smallest one. A rejected request is answered in Go's words for a status, and the stream continues. */
static void create(struct rpc_call *c, const Etcdserverpb__WatchCreateRequest *m)
{
    struct slice key = m->key.len ? slice_of(m->key.data, m->key.len) : slice_of("", 1);
    struct slice range_end = slice_of(m->range_end.data, m->range_end.len);
    int err = c->who_err;
    if (!err && m->start_revision >= 0)
        err = kv_auth_check_range(c->server->kv, &c->who, key, range_end, false);
    watch_create(c->state, m, err ? rpc_watch_refusal(err) : NULL);
}

void rpc_watch_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)m;
    if (!c->state) {
        c->state = rpc_watch_open(c);
        watch_stream_set_source(c->state, c->source);
    }
    if (!rpc_watch_service_make_room(c))
        return;
    switch (request->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(c, request->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        watch_cancel(c->state, request->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        watch_request_progress(c->state);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION__NOT_SET:
    case _ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION__CASE_IS_INT_SIZE:
    default:
        log_debug("watch request without a request", F_STR("remote", c->peer ? c->peer : ""));
    }
}

void rpc_watch_half_close(struct rpc_call *c)
{
    (void)c;
}

void rpc_watch_cancel(struct rpc_call *c)
{
    if (c->state)
        watch_stream_close(c->state);
    c->state = NULL;
    end_composing(c);
}
