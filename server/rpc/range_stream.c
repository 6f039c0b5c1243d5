/* SPDX-License-Identifier: Apache-2.0
 * KV.RangeStream: the answer of a Range in chunks, so that neither side holds all of it. Every chunk is read at
 * the revision of the first one. Header, more and count come with the last chunk alone.
 *
 * A chunk starts with 10 keys, and doubles or halves towards the size of the largest request. Between chunks
 * the transport may be congested; then on_writable continues. A compaction in between ends the stream with
 * ERR_COMPACTED, as in etcd.
 *
 * Keys beyond the client's limit are counted by a sliced Range of the store. The last chunk waits for their
 * number: clients such as Kubernetes stop reading at their limit, and need the header that comes with it. */
#include "base/turn_queue.h"
#include "server/rpc/service.h"

enum {
    CHUNK_KEYS_FIRST = 10,
    CHUNKS_PER_TURN = 4,
    MESSAGE_BYTES_DEFAULT = 1536 * 1024,
};

struct range_stream {
    Etcdserverpb__RangeRequest
        request; /* of the next chunk; key and range_end are in `key` and the call's arena */
    struct buf key;
    int64_t limit;          /* the client's; INT64_MAX = none */
    int64_t count;          /* keys sent */
    int64_t revision;       /* of the header; 0 = nothing read yet */
    bool is_more;           /* the client's limit has cut keys off */
    struct slice range_key; /* the whole range, for the check of permissions before each chunk */
    struct arena arena;     /* one chunk */
    struct buf last;        /* the packed keys of the last chunk, while the others are counted */
};

static void stream_free(struct range_stream *s)
{
    buf_done(&s->key);
    buf_done(&s->last);
    arena_done(&s->arena);
    mem_free(s);
}

static void stream_finish(struct rpc_call *c, int err)
{
    stream_free(c->state);
    c->state = NULL;
    rpc_finish(c, err);
}

static void send(struct rpc_call *c, Etcdserverpb__RangeResponse *chunk)
{
    Etcdserverpb__RangeStreamResponse response = ETCDSERVERPB__RANGE_STREAM_RESPONSE__INIT;
    response.range_response = chunk;
    rpc_send(c, &response.base);
}

static int64_t next_limit(int64_t limit, size_t size, size_t target)
{
    if (size < target / 2)
        limit *= 2;
    else if (size > target * 2)
        limit /= 2;
    return limit ? limit : 1;
}

static void send_end(struct rpc_call *c, Etcdserverpb__RangeResponse *chunk, int64_t count)
{
    const struct range_stream *s = c->state;
    Etcdserverpb__ResponseHeader header;
    kv_header(c->server->kv, s->revision, &header);
    chunk->header = &header;
    chunk->more = s->is_more;
    chunk->count = count;
    send(c, chunk);
}

static bool count_part(struct kv_request *r, const ProtobufCMessage *part)
{
    (void)r, (void)part;
    return true;
}

static void on_counted(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    struct range_stream *s = c->state;
    const Etcdserverpb__RangeResponse *counted = (const Etcdserverpb__RangeResponse *)m;
    c->is_waiting = false;
    if (!err) {
        if (!s->revision)
            s->revision = counted->header->revision;
        int64_t count = s->count + counted->count;
        arena_reset(&s->arena);
        Etcdserverpb__RangeResponse *chunk =
            etcdserverpb__range_response__unpack(arena_allocator(&s->arena), s->last.size, s->last.data);
        assert(chunk); /* it was packed here */
        send_end(c, chunk, count);
    }
    stream_finish(c, err);
}

/* Keys from request.key on, at the pinned revision if there is one already. */
static void count_rest(struct rpc_call *c, struct range_stream *s)
{
    struct kv_request *r = rpc_store_request(c);
    r->done = on_counted;
    r->on_part = count_part;
    r->has_room = NULL; /* a count is small: it does not wait until the client has read the chunks */
    s->request.limit = 0;
    s->request.count_only = s->request.serializable = true;
    c->server->store_requests++;
    kv_range(c->server->kv, r, &s->request);
}

/* Reads and sends one chunk. *ret_is_last: there are no more keys to send. */
static int send_chunk(struct rpc_call *c, struct range_stream *s, bool *ret_is_last)
{
    struct kv *kv = c->server->kv;
    Etcdserverpb__RangeResponse *read;
    arena_reset(&s->arena);
    struct slice range_end = slice_of(s->request.range_end.data, s->request.range_end.len);
    int err = kv_auth_check_range(kv, &c->who, s->range_key, range_end, false);
    if (!err)
        err = kv_range_page(kv, &s->request, &s->arena, &read);
    if (err)
        return err;
    if (!s->revision) {
        s->revision = read->header->revision;
        if (s->request.revision <= 0)
            s->request.revision = s->revision;
    }
    s->count += (int64_t)read->n_kvs;
    Etcdserverpb__RangeResponse chunk = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    chunk.n_kvs = read->n_kvs;
    chunk.kvs = read->kvs;
    if (read->more && read->n_kvs) {
        ProtobufCBinaryData last = read->kvs[read->n_kvs - 1]->key;
        buf_clear(&s->key);
        buf_add(&s->key, last.data, last.len);
        buf_add_byte(&s->key, 0);
        s->request.key = (ProtobufCBinaryData){s->key.size, s->key.data};
    }
    *ret_is_last = !read->more || !read->n_kvs || s->count >= s->limit;
    s->is_more = read->more;
    if (*ret_is_last) {
        if (!read->more) {
            send_end(c, &chunk, s->count);
            return OK;
        }
        size_t last_size = protobuf_c_message_get_packed_size(&chunk.base);
        protobuf_c_message_pack(&chunk.base, buf_reserve(&s->last, last_size));
        s->last.size = last_size;
        return OK;
    }
    size_t size = protobuf_c_message_get_packed_size(&chunk.base);
    send(c, &chunk);
    size_t target = c->server->request_bytes_max ? c->server->request_bytes_max : MESSAGE_BYTES_DEFAULT;
    s->request.limit = next_limit(s->request.limit, size, target);
    if (s->request.limit > s->limit - s->count)
        s->request.limit = s->limit - s->count;
    return OK;
}

void rpc_range_stream_writable(struct rpc_call *c)
{
    struct range_stream *s = c->state;
    if (!s || c->is_waiting)
        return;
    uint64_t share = turn_share();
    for (unsigned i = 0; i < CHUNKS_PER_TURN && (i == 0 || !turn_share_is_spent(share)); i++) {
        if (rpc_is_congested(c))
            return;
        bool is_last = false;
        int err = s->request.count_only ? OK : send_chunk(c, s, &is_last);
        if (s->request.count_only || (!err && is_last && s->is_more)) {
            count_rest(c, s);
            return;
        }
        if (err || is_last) {
            stream_finish(c, err);
            return;
        }
    }
    rpc_wake(c);
}

static void rpc_range_stream_on_barrier(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    c->is_waiting = false;
    if (err)
        stream_finish(c, err);
    else
        rpc_range_stream_writable(c);
}

static int check_request(const Etcdserverpb__RangeRequest *r)
{
    if (!r->key.len)
        return ERR_KEY_EMPTY;
    if ((unsigned)r->sort_order > ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        (unsigned)r->sort_target > ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE)
        return ERR_INVALID_SORT_OPTION;
    bool is_default_order = r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE ||
                            (r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND &&
                             r->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY);
    if (!is_default_order)
        return ERR_RANGE_STREAM_SORT;
    if (r->min_mod_revision || r->max_mod_revision || r->min_create_revision || r->max_create_revision)
        return ERR_RANGE_STREAM_FILTER;
    return 0;
}

void rpc_range_stream_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__RangeRequest *request = (const Etcdserverpb__RangeRequest *)m;
    int err = check_request(request);
    if (err) {
        rpc_finish(c, err);
        return;
    }
    struct range_stream *s = mem_new(sizeof *s);
    s->request = *request;
    s->range_key = slice_of(request->key.data, request->key.len);
    s->limit = request->limit > 0 ? request->limit : INT64_MAX;
    s->request.limit = s->limit < CHUNK_KEYS_FIRST ? s->limit : CHUNK_KEYS_FIRST;
    if (request->count_only)
        s->request.limit = 0;
    c->state = s;
    if (request->serializable) {
        rpc_range_stream_writable(c);
        return;
    }
    c->is_waiting = true;
    c->request.done = rpc_range_stream_on_barrier;
    kv_barrier(c->server->kv, &c->request);
}

void rpc_range_stream_half_close(struct rpc_call *c)
{
    (void)c;
}

void rpc_range_stream_cancel(struct rpc_call *c)
{
    if (c->state)
        stream_free(c->state);
    c->state = NULL;
}
