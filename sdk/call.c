/* SPDX-License-Identifier: Apache-2.0
 * Unary calls. The caller's thread encodes the request; the client's thread sends it and decodes the
 * response into a result that is one block of memory. A waiting call is an asynchronous call and a
 * condition variable. call.def generates the functions. */
#include <stdio.h>

#include "sdk/message.h"

/* --- results -------------------------------------------------------------------------------------------- */
struct result {
    struct arena arena; /* holds everything inside the result */
};
/* A multiple of 16, so that the result behind the head is aligned. */
enum { RESULT_HEAD = (sizeof(struct result) + 15) / 16 * 16 };

void *result_new(size_t size, struct arena **ret_arena)
{
    struct result *r = mem_new(RESULT_HEAD + size);
    *ret_arena = &r->arena;
    return (uint8_t *)r + RESULT_HEAD;
}

void cairn_result_free(void *result)
{
    if (!result)
        return;
    struct result *r = (void *)((uint8_t *)result - RESULT_HEAD);
    arena_done(&r->arena);
    mem_free(r);
}

/* --- a call --------------------------------------------------------------------------------------------- */
struct method {
    const char *path;
    enum rpc_kind kind;
    const ProtobufCMessageDescriptor *response; /* NULL: the result is the response's bytes */
    size_t result_size;
    void (*read)(const ProtobufCMessage *message, struct arena *a, void *result);
};

struct call {
    struct post post;
    struct cairn_client *client;
    struct method method;
    char *path; /* owned; for cairn_call */
    enum rpc_kind kind;
    uint32_t timeout_ms;
    struct cancel_op canceling;
    struct rpc *rpc; /* while it runs */
    struct buf request;
    void *result;
    bool is_malformed;
    void (*done)(void *result, const struct cairn_error *error, struct call *call);
    void (*callback)(void); /* the user's callback; `done` casts it to its type */
    void *arg;
};

static void call_free(struct call *call)
{
    cancel_end(&call->canceling);
    buf_done(&call->request);
    mem_free(call->path);
    mem_free(call);
}

static void sdk_call_on_answer(struct rpc *r, struct slice message)
{
    struct call *call = r->owner;
    const struct method *m = &call->method;
    struct arena *a;
    if (call->result)
        return; /* ignore a second response */
    void *result = result_new(m->result_size, &a);
    if (!m->response) {
        ((struct cairn_raw_result *)result)->body =
            (struct cairn_bytes){arena_string(a, message.data, message.size), message.size};
    } else {

        ProtobufCMessage *decoded =
            protobuf_c_message_unpack(m->response, arena_allocator(a), message.size, message.data);
        if (decoded)
            m->read(decoded, a, result);
        else
            call->is_malformed = true;
    }
    call->result = result;
}

static void sdk_call_on_end(struct rpc *r, const struct cairn_error *error)
{
    struct call *call = r->owner;
    struct cairn_error e = *error;
    if (!e.code && (call->is_malformed || !call->result))
        set_error(&e, CAIRN_PROTOCOL, "the server's answer is %s",
                  call->result ? "malformed" : "an empty stream");
    if (e.code) {
        cairn_result_free(call->result);
        call->result = NULL;
    }
    call->done(call->result, &e, call);
    call_free(call);
}

static void cancel_call(struct cancel_op *op, const struct cairn_error *error)
{
    sdk_rpc_finish(container_of(op, struct call, canceling)->rpc, error);
}

static void end_unsent(struct call *call, const struct cairn_error *error)
{
    call->done(NULL, error, call);
    call_free(call);
}

static void start_call(struct post *p)
{
    struct call *call = container_of(p, struct call, post);
    struct cairn_client *c = call->client;
    struct cairn_error e = {0};
    call->canceling.run = cancel_call;
    if (c->call_count >= CALLS_MAX) {
        set_error(&e, CAIRN_LIMIT, "%d calls are under way", (int)CALLS_MAX);
        end_unsent(call, &e);
        return;
    }
    if (cancel_begin(&call->canceling, &e)) {
        end_unsent(call, &e);
        return;
    }
    struct rpc *r = rpc_new(c, call->method.path, call->kind, call);
    r->on_message = sdk_call_on_answer;
    r->on_end = sdk_call_on_end;
    r->is_half_closed = true;
    rpc_add_message(r, buf_slice(&call->request));
    buf_done(&call->request);
    call->rpc = r;
    sdk_rpc_start(r, call->timeout_ms);
}

/* --- waiting -------------------------------------------------------------------------------------------- */
static void on_waited(void *result, const struct cairn_error *error, struct call *call)
{
    waiter_end(call->arg, result, error);
}

/* Takes the call. */
static int post_call(struct call *call)
{
    call->post.run = start_call;
    int err = client_post(call->client, &call->post);
    if (err)
        call_free(call);
    return err;
}

/* Takes the call. */
static int sdk_call_wait_for(struct call *call, void **ret, struct cairn_error *error)
{
    struct waiter w = {0};
    call->done = on_waited;
    call->arg = &w;
    call->post.run = start_call;
    int err = waiter_run(&w, call->client, &call->post, ret, error);
    if (!w.was_posted)
        call_free(call);
    return err;
}

/* --- the calls of call.def ------------------------------------------------------------------------------ */
static int pack(const ProtobufCMessage *m, struct buf *out, struct cairn_error *error)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    if (size > ANSWER_SIZE_MAX)
        return set_error(error, CAIRN_INVALID, "the request has more than 2 GiB");
    out->size += protobuf_c_message_pack(m, buf_reserve(out, size));
    return CAIRN_OK;
}

static struct call *call_new(struct cairn_client *c, const struct method *m)
{
    struct call *call = mem_new(sizeof *call);
    call->client = c;
    call->method = *m;
    call->kind = m->kind;
    call->timeout_ms = c->command_timeout_ms;
    return call;
}

/* True for a transaction of ranges alone, which is retried as a read. */
#define IS_READ(request)                                                                                     \
    (_Generic((request), const struct cairn_txn_request *: true, default: false) &&                          \
     txn_is_read((const void *)(request)))

#define CALL(name, path_, kind_, type, response_)                                                            \
    static void read_any_##name(const ProtobufCMessage *message, struct arena *a, void *result)              \
    {                                                                                                        \
        read_##name(message, a, result);                                                                     \
    }                                                                                                        \
    static int make_##name(struct cairn_client *c, const struct cairn_##name##_request *request,             \
                           const struct cairn_call_options *options, struct call **ret,                      \
                           struct cairn_error *error)                                                        \
    {                                                                                                        \
        static const struct method method = {path_, kind_, &etcdserverpb__##response_##__descriptor,         \
                                             sizeof(struct cairn_##name##_result), read_any_##name};         \
        static const struct cairn_##name##_request nothing;                                                  \
        struct arena a = {0};                                                                                \
        struct call *call = call_new(c, &method);                                                            \
        ProtobufCMessage *m = arena_new(&a, etcdserverpb__##type##__descriptor.sizeof_message);              \
        protobuf_c_message_init(&etcdserverpb__##type##__descriptor, m);                                     \
        int err = call_options_take(c, options, &call->timeout_ms, &call->canceling, error);                 \
        if (!err)                                                                                            \
            err = fill_##name(request ? request : &nothing, &a, m, error);                                   \
        if (!err)                                                                                            \
            err = pack(m, &call->request, error);                                                            \
        if (!err && request && IS_READ(request))                                                             \
            call->kind = RPC_READ;                                                                           \
        arena_done(&a);                                                                                      \
        if (err)                                                                                             \
            call_free(call);                                                                                 \
        else                                                                                                 \
            *ret = call;                                                                                     \
        return err;                                                                                          \
    }                                                                                                        \
    int cairn_##name##_with(struct cairn_client *c, const struct cairn_##name##_request *request,            \
                            const struct cairn_call_options *options, struct cairn_##name##_result **ret,    \
                            struct cairn_error *error)                                                       \
    {                                                                                                        \
        struct call *call;                                                                                   \
        void *result = NULL;                                                                                 \
        int err = make_##name(c, request, options, &call, error);                                            \
        if (!err)                                                                                            \
            err = sdk_call_wait_for(call, ret ? &result : NULL, error);                                      \
        if (ret && !err)                                                                                     \
            *ret = result;                                                                                   \
        return err;                                                                                          \
    }                                                                                                        \
    int cairn_##name(struct cairn_client *c, const struct cairn_##name##_request *request,                   \
                     struct cairn_##name##_result **ret, struct cairn_error *error)                          \
    {                                                                                                        \
        return cairn_##name##_with(c, request, NULL, ret, error);                                            \
    }                                                                                                        \
    static void done_##name(void *result, const struct cairn_error *error, struct call *call)                \
    {                                                                                                        \
        ((void (*)(struct cairn_##name##_result *, const struct cairn_error *, void *))call->callback)(      \
            result, error, call->arg);                                                                       \
    }                                                                                                        \
    int cairn_##name##_async_with(                                                                           \
        struct cairn_client *c, const struct cairn_##name##_request *request,                                \
        const struct cairn_call_options *options,                                                            \
        void (*callback)(struct cairn_##name##_result * result, const struct cairn_error *error, void *arg), \
        void *arg)                                                                                           \
    {                                                                                                        \
        struct call *call;                                                                                   \
        int err = make_##name(c, request, options, &call, NULL);                                             \
        if (err)                                                                                             \
            return err;                                                                                      \
        call->done = done_##name;                                                                            \
        call->callback = (void (*)(void))callback;                                                           \
        call->arg = arg;                                                                                     \
        return post_call(call);                                                                              \
    }                                                                                                        \
    int cairn_##name##_async(                                                                                \
        struct cairn_client *c, const struct cairn_##name##_request *request,                                \
        void (*callback)(struct cairn_##name##_result * result, const struct cairn_error *error, void *arg), \
        void *arg)                                                                                           \
    {                                                                                                        \
        return cairn_##name##_async_with(c, request, NULL, callback, arg);                                   \
    }
#include "sdk/call.def"

/* --- any other unary call ------------------------------------------------------------------------------- */
static int make_raw(struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read,
                    uint32_t timeout_ms, struct call **ret, struct cairn_error *error)
{
    struct method m = {.kind = is_read ? RPC_READ : RPC_WRITE,
                       .result_size = sizeof(struct cairn_raw_result)};
    if (path[0] != '/' || strlen(path) > 255)
        return set_error(error, CAIRN_INVALID, "a path is /package.Service/Method");
    if (request.size > ANSWER_SIZE_MAX)
        return set_error(error, CAIRN_INVALID, "the request has more than 2 GiB");
    struct call *call = call_new(c, &m);
    call->method.path = call->path = mem_string(path);
    if (timeout_ms)
        call->timeout_ms = timeout_ms;
    buf_add(&call->request, request.data, request.size);
    *ret = call;
    return CAIRN_OK;
}

int cairn_call(struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read,
               uint32_t timeout_ms, struct cairn_raw_result **ret, struct cairn_error *error)
{
    struct cairn_call_options options = {.size = sizeof options, .timeout_ms = timeout_ms};
    return cairn_call_with(c, path, request, is_read, &options, ret, error);
}

int cairn_call_with(struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read,
                    const struct cairn_call_options *options, struct cairn_raw_result **ret,
                    struct cairn_error *error)
{
    struct call *call;
    void *result = NULL;
    int err = make_raw(c, path, request, is_read, 0, &call, error);
    if (err)
        return err;
    err = call_options_take(c, options, &call->timeout_ms, &call->canceling, error);
    if (err)
        call_free(call);
    else
        err = sdk_call_wait_for(call, ret ? &result : NULL, error);
    if (ret && !err)
        *ret = result;
    return err;
}

static void done_raw(void *result, const struct cairn_error *error, struct call *call)
{
    ((void (*)(struct cairn_raw_result *, const struct cairn_error *, void *))call->callback)(result, error,
                                                                                              call->arg);
}

int cairn_call_async(
    struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read, uint32_t timeout_ms,
    void (*callback)(struct cairn_raw_result *result, const struct cairn_error *error, void *arg), void *arg)
{
    struct call *call;
    int err = make_raw(c, path, request, is_read, timeout_ms, &call, NULL);
    if (err)
        return err;
    call->done = done_raw;
    call->callback = (void (*)(void))callback;
    call->arg = arg;
    return post_call(call);
}
