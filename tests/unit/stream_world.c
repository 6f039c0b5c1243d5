/* SPDX-License-Identifier: Apache-2.0
 * A server with streams and its clients; see stream_world.h. */
#include "tests/unit/stream_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "server/api/api.h"
#include "server/auth/identity.h"
#include "tests/unit/unit.h"

/* --- the member ------------------------------------------------------------------------------------ */

static void on_turn(void *arg)
{
    struct stream_world *w = arg;
    if (w->is_held)
        return;
    registry_turn(w->registry);
    config_turn(w->config);
    if (w->api)
        api_turn(w->api);
    stream_server_turn(w->stream);
}

static bool is_readable(void *arg)
{
    struct stream_world *w = arg;
    return registry_is_ready(w->registry) && config_is_ready(w->config);
}

void stream_world_open(struct stream_world *w, const struct stream_options *options, const char *cors)
{
    char error[256] = "";
    struct registry_options registry = {.kv = NULL, .member = "n1"};
    struct stream_options stream = options ? *options : (struct stream_options){0};
    w->node.turn = NULL;
    one_node_open(&w->node);
    registry.kv = stream.kv = w->node.kv;
    if (w->has_users) {
        const struct identity_options identity = {
            .loop = &w->node.loop, .kv = w->node.kv, .auth_token = "simple", .bcrypt_cost = 4};
        assert_int_equal(identity_new(&identity, error, sizeof error, &w->identity), 0);
        assert_int_equal(
            projections_parse(slice_text("defaults"), error, sizeof error, &registry.projections), 0);
        stream.identity = w->identity;
    }
    w->registry = stream.registry = registry_new(&registry);
    struct config_options config = {.kv = w->node.kv, .member = "n1"};
    w->config = stream.config = config_new(&config);
    stream.member = "n1";
    w->stream = stream_server_new(&stream);
    w->rpc = (struct rpc_server){.kv = w->node.kv, .mono_ms = clock_mono_ms};
    struct http_mount mounts[1 + API_MOUNTS] = {{STREAM_PATH, &stream_http_handler, w->stream, true}};
    const struct api_options api = {
        .registry = w->registry, .config = w->config, .identity = w->identity, .mono_ms = clock_mono_ms};
    w->api = w->has_users ? api_new(&api) : NULL;
    if (w->api)
        api_mounts(w->api, mounts + 1);
    output_budget_init(&w->output, 0, 0);
    struct http_options http = {
        .loop = &w->node.loop,
        .rpc = &w->rpc,
        .registry = w->registry,
        .request_bytes_max = 1 << 20,
        .connections_max = 1000,
        .output = &w->output,
        .cors = cors,
        .origins = cors,
        .server_version = "3.7.1",
        .mounts = mounts,
        .mount_count = w->api ? COUNT_OF(mounts) : 1,
    };
    assert_int_equal(http_server_new(&http, error, sizeof error, &w->http), 0);
    w->node.arg = w;
    w->node.turn = on_turn;
    if (!w->is_held)
        one_node_run(&w->node, is_readable, w);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

void stream_world_close(struct stream_world *w)
{
    bool is_stopped = false;
    w->is_held = false;
    http_server_stop(w->http, on_stopped, &is_stopped);
    one_node_run(&w->node, is_true, &is_stopped);
    w->node.turn = NULL;
    api_free(w->api);
    stream_server_free(w->stream);
    config_free(w->config);
    registry_free(w->registry);
    identity_free(w->identity);
    w->identity = NULL;
    assert_int_equal(w->output.bytes, 0);
    output_budget_done(&w->output);
    one_node_close(&w->node);
}

/* --- users ------------------------------------------------------------------------------------------- */

struct auth_request {
    struct kv_request request;
    char *token;
    bool is_done;
};

static bool is_answered(void *arg)
{
    return ((struct auth_request *)arg)->is_done;
}

static void on_answered(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct auth_request *a = container_of(r, struct auth_request, request);
    assert_int_equal(err, OK);
    if (a->token)
        snprintf(a->token, 256, "%s", ((const Etcdserverpb__AuthenticateResponse *)response)->token);
    a->is_done = true;
}

void stream_world_auth(struct stream_world *w, const ProtobufCMessage *m)
{
    const struct auth_who root = {
        .user = slice_text("root"), .revision = AUTH_REVISION_ANY, .is_renewed = true};
    struct auth_request a = {.request = {.done = on_answered, .who = &root}};
    kv_auth(w->node.kv, &a.request, m);
    one_node_run(&w->node, is_answered, &a);
}

static char *changeable(const char *text)
{
    return (char *)(uintptr_t)text;
}

void stream_world_add_user(struct stream_world *w, const char *name)
{
    Etcdserverpb__AuthUserAddRequest user = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    Etcdserverpb__AuthUserGrantRoleRequest grant = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    user.name = role.name = grant.user = grant.role = changeable(name);
    user.hashedpassword = changeable("hash");
    stream_world_auth(w, &user.base);
    if (strcmp(name, "root") != 0)
        stream_world_auth(w, &role.base);
    stream_world_auth(w, &grant.base);
}

/* All keys with the prefix. */
static void set_range(ProtobufCBinaryData *key, ProtobufCBinaryData *end, const char *prefix,
                      char end_text[256])
{
    size_t size = strlen(prefix);
    snprintf(end_text, 256, "%s", prefix);
    end_text[size - 1]++;
    *key = (ProtobufCBinaryData){size, (uint8_t *)changeable(prefix)};
    *end = (ProtobufCBinaryData){size, (uint8_t *)end_text};
}

void stream_world_grant(struct stream_world *w, const char *role, const char *prefix, bool is_write)
{
    Etcdserverpb__AuthRoleGrantPermissionRequest m = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    char end[256];
    m.name = changeable(role);
    m.perm = &permission;
    permission.permtype = is_write ? AUTHPB__PERMISSION__TYPE__READWRITE : AUTHPB__PERMISSION__TYPE__READ;
    set_range(&permission.key, &permission.range_end, prefix, end);
    stream_world_auth(w, &m.base);
}

void stream_world_revoke(struct stream_world *w, const char *role, const char *prefix)
{
    Etcdserverpb__AuthRoleRevokePermissionRequest m = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    char end[256];
    m.role = changeable(role);
    set_range(&m.key, &m.range_end, prefix, end);
    stream_world_auth(w, &m.base);
}

void stream_world_enable(struct stream_world *w)
{
    Etcdserverpb__AuthEnableRequest m = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    stream_world_add_user(w, "root");
    stream_world_auth(w, &m.base);
}

char *stream_world_token(struct stream_world *w, const char *name)
{
    char token[256] = "";
    struct auth_request a = {.request.done = on_answered, .token = token};
    kv_authenticate(w->node.kv, &a.request, name, true);
    one_node_run(&w->node, is_answered, &a);
    return stream_text("%s", token);
}

void stream_world_run_ms(struct stream_world *w, uint64_t ms)
{
    one_node_run_ms(&w->node, ms);
}

struct asked {
    struct registry_request request;
    bool is_done;
    int64_t revision;
};

static void on_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct asked *a = container_of(q, struct asked, request);
    if (err)
        fail_msg("a registry request failed: %s", result && result->error ? result->error : err_text(err));
    a->revision = result->revision;
    a->is_done = true;
}

static struct registry_key key_of(const char *service, const char *id)
{
    return (struct registry_key){.ns = slice_text("default"),
                                 .group = slice_text("default"),
                                 .service = slice_text(service),
                                 .id = slice_text(id)};
}

int64_t stream_world_put(struct stream_world *w, const char *service, const char *id, const char *text)
{
    struct asked a = {.request.done = on_done};
    struct registry_key key = key_of(service, id);
    struct instance doc;
    struct arena arena = {0};
    char error[200];
    if (instance_read(slice_text(text), DOCUMENT_STRICT, &arena, &doc, error, sizeof error))
        fail_msg("%s", error);
    registry_register(w->registry, &a.request, &key, &doc, 0);
    one_node_run(&w->node, is_true, &a.is_done);
    arena_done(&arena);
    return a.revision;
}

int64_t stream_world_delete(struct stream_world *w, const char *service, const char *id)
{
    struct asked a = {.request.done = on_done};
    struct registry_key key = key_of(service, id);
    registry_deregister(w->registry, &a.request, &key);
    one_node_run(&w->node, is_true, &a.is_done);
    return a.revision;
}

/* --- configurations ------------------------------------------------------------------------------------ */

struct config_asked {
    struct config_request request;
    bool is_done;
    int64_t revision;
};

static void on_config_done(struct config_request *q, int err, const struct config_result *result)
{
    struct config_asked *a = container_of(q, struct config_asked, request);
    if (err)
        fail_msg("a request failed: %s", result && result->error ? result->error : err_text(err));
    a->revision = result->revision;
    a->is_done = true;
}

struct config_id stream_world_config(const char *name)
{
    struct config_id id = {slice_text("default"), slice_text("default"), {0}};
    const char *slash = strchr(name, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    if (second) {
        id.ns = slice_of(name, (size_t)(slash - name));
        name = slash + 1;
        slash = second;
    }
    if (slash)
        id.group = slice_of(name, (size_t)(slash - name));
    id.name = slice_text(slash ? slash + 1 : name);
    return id;
}

int64_t stream_world_publish(struct stream_world *w, const char *name, struct slice content)
{
    struct config_asked a = {.request.done = on_config_done};
    struct config_publish p = {.key = stream_world_config(name), .content = content};
    p.has_format = !utf8_is_valid(content);
    p.format = FORMAT_BIN;
    config_publish(w->config, &a.request, &p);
    one_node_run(&w->node, is_true, &a.is_done);
    return a.revision;
}

int64_t stream_world_unpublish(struct stream_world *w, const char *name)
{
    struct config_asked a = {.request.done = on_config_done};
    struct config_id key = stream_world_config(name);
    config_delete(w->config, &a.request, &key, (struct slice){0}, &(struct config_condition){0});
    one_node_run(&w->node, is_true, &a.is_done);
    return a.revision;
}

int64_t stream_world_put_gray(struct stream_world *w, const char *name, const char *rule, const char *text,
                              const char *content)
{
    struct config_asked a = {.request.done = on_config_done};
    struct config_id key = stream_world_config(name);
    const struct config_condition any = {0};
    struct gray_request r;
    struct arena arena = {0};
    char error[256];
    struct slice bytes = slice_text(content ? content : "");
    if (!text) {
        config_delete_gray(w->config, &a.request, &key, slice_text(rule), &any);
    } else {
        if (gray_request_read(slice_text(text), &arena, &r, error, sizeof error))
            fail_msg("%s", error);
        r.rule.name = slice_text(rule);
        config_put_gray(w->config, &a.request, &key, &r.rule, content ? &bytes : NULL, &any);
    }
    one_node_run(&w->node, is_true, &a.is_done);
    arena_done(&arena);
    return a.revision;
}

/* --- reads that are held back or fail ------------------------------------------------------------------ */

struct stream_reads stream_reads;

struct held {
    struct config *config;
    struct config_request *q;
    struct config_id key;
    uint64_t seq;
};
static struct held held[256];

void stream_reads_read(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                       bool is_local)
{
    assert_true(is_local);
    stream_reads.count++;
    if (stream_reads.is_held) {
        assert_true(stream_reads.held_count < COUNT_OF(held));
        held[stream_reads.held_count++] = (struct held){c, q, *key, seq};
        return;
    }
    config_read(c, q, key, seq, true);
    if (stream_reads.fail > 0) {
        stream_reads.fail--;
        config_cancel(c, q);
        struct config_id bad = {slice_text(""), key->group, key->name}; /* ERR_INVALID, for now */
        config_read(c, q, &bad, seq, true);
    }
}

void stream_reads_finish(size_t count)
{
    for (size_t i = 0; i < count && stream_reads.held_count; i++) {
        struct held h = held[0];
        memmove(held, held + 1, --stream_reads.held_count * sizeof *held);
        config_read(h.config, h.q, &h.key, h.seq, true);
    }
}

/* --- bytes ------------------------------------------------------------------------------------------- */

static void turn(struct stream_client *c)
{
    uv_run(&c->world->node.loop, UV_RUN_NOWAIT);
}

static void pump(struct stream_client *c)
{
    turn(c);
    uint8_t *at = buf_reserve(&c->in, 65536);
    ssize_t n = recv(c->fd, at, 65536, 0);
    if (n > 0)
        c->in.size += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        c->is_closed = true;
    else
        usleep(100);
}

static void send_all(struct stream_client *c, struct slice s)
{
    uint64_t end = clock_mono_ms() + 60000;
    while (s.size && clock_mono_ms() < end) {
        ssize_t n = send(c->fd, s.data, s.size, MSG_NOSIGNAL);
        if (n > 0)
            s = slice_of(s.data + n, s.size - (size_t)n);
        else if (errno != EAGAIN)
            return;
        turn(c);
    }
}

void stream_client_ask(struct stream_client *c, struct stream_world *w, const char *request)
{
    int pair[2];
    *c = (struct stream_client){.world = w};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    c->fd = pair[0];
    http_server_adopt(w->http, pair[1], false, HTTP_ALL);
    send_all(c, slice_text(request));
}

bool stream_client_has_text(struct stream_client *c, const char *text)
{
    uint64_t end = clock_mono_ms() + 60000;
    while (!(c->in.size && memmem(c->in.data, c->in.size, text, strlen(text)))) {
        if (c->is_closed || clock_mono_ms() > end)
            return false;
        pump(c);
    }
    return true;
}

void stream_client_open(struct stream_client *c, struct stream_world *w, const char *extra)
{
    char request[1024];
    snprintf(request, sizeof request,
             "GET " STREAM_PATH " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
             extra);
    stream_client_ask(c, w, request);
    if (!stream_client_has_text(c, "\r\n\r\n") || memcmp(c->in.data, "HTTP/1.1 101", 12) != 0)
        fail_msg("no upgrade: %s", buf_text(&c->in));
    const uint8_t *end = memmem(c->in.data, c->in.size, "\r\n\r\n", 4);
    c->is_deflated = memmem(c->in.data, (size_t)(end - c->in.data), "permessage-deflate", 18);
    buf_consume(&c->in, (size_t)(end - c->in.data) + 4);
}

void stream_client_close(struct stream_client *c)
{
    close(c->fd);
    for (int i = 0; i < 5; i++)
        turn(c);
    buf_done(&c->in);
    buf_done(&c->message);
    deflater_free(c->deflater);
    *c = (struct stream_client){.fd = -1};
}

/* --- frames -------------------------------------------------------------------------------------------- */

void stream_client_frame(struct stream_client *c, uint8_t first, struct slice text)
{
    struct buf out = {0};
    static const uint8_t mask[4] = {1, 2, 3, 4};
    buf_add_byte(&out, first);
    if (text.size < 126) {
        buf_add_byte(&out, (uint8_t)(0x80 | text.size));
    } else if (text.size < 65536) {
        uint8_t size[] = {0x80 | 126, (uint8_t)(text.size >> 8), (uint8_t)text.size};
        buf_add(&out, size, sizeof size);
    } else {
        uint8_t size[9] = {0x80 | 127};
        put_be64(size + 1, text.size);
        buf_add(&out, size, sizeof size);
    }
    buf_add(&out, mask, sizeof mask);
    for (size_t i = 0; i < text.size; i++)
        buf_add_byte(&out, text.data[i] ^ mask[i & 3]);
    send_all(c, buf_slice(&out));
    buf_done(&out);
}

void stream_client_say(struct stream_client *c, const char *text)
{
    stream_client_frame(c, 0x81, slice_text(text));
}

/* A whole frame at the front of c->in; false: more is needed. */
static bool take_frame(struct stream_client *c, bool *ret_is_message)
{
    if (c->in.size < 2)
        return false;
    uint64_t size = c->in.data[1] & 0x7f;
    size_t head = size == 126 ? 4 : size == 127 ? 10 : 2;
    if (c->in.size < head)
        return false;
    if (size == 126)
        size = (uint64_t)c->in.data[2] << 8 | c->in.data[3];
    else if (size == 127)
        size = get_be64(c->in.data + 2);
    if (c->in.size - head < size)
        return false;
    uint8_t first = c->in.data[0];
    struct slice payload = slice_of(c->in.data + head, (size_t)size);
    *ret_is_message = (first & 0x0f) == 1;
    if (*ret_is_message) {
        buf_clear(&c->message);
        if (first & 0x40) {
            assert_true(c->is_deflated);
            assert_int_equal(deflate_unpack(&c->deflater, payload, 16 << 20, &c->message), 0);
            c->compressed++;
        } else {
            buf_add_slice(&c->message, payload);
        }
    } else if ((first & 0x0f) == 8) {
        c->status = size >= 2 ? (uint16_t)((unsigned)payload.data[0] << 8 | payload.data[1]) : 1005;
    }
    buf_consume(&c->in, head + (size_t)size);
    return true;
}

bool stream_client_receives(struct stream_client *c, uint64_t ms)
{
    uint64_t end = clock_mono_ms() + ms;
    bool is_late = false;
    for (;;) {
        bool is_message = false;
        while (take_frame(c, &is_message))
            if (is_message)
                return true;
        if (c->is_closed || is_late)
            return false;
        is_late = clock_mono_ms() >= end;
        pump(c);
    }
}

const char *stream_client_next(struct stream_client *c)
{
    if (!stream_client_receives(c, 60000))
        fail_msg("no message arrived (closed: %d, status %u)", c->is_closed, c->status);
    return buf_text(&c->message);
}

void stream_client_expect(struct stream_client *c, const char *text)
{
    const char *got = stream_client_next(c);
    while (strncmp(got, "{\"type\":\"mark\"", 14) == 0)
        got = stream_client_next(c);
    assert_string_equal(got, text);
}

const char *stream_client_expect_frame(struct stream_client *c, const char *type, const char *text)
{
    char head[64];
    const char *got = stream_client_next(c);
    while (strncmp(got, "{\"type\":\"mark\"", 14) == 0)
        got = stream_client_next(c);
    int n = snprintf(head, sizeof head, "{\"type\":\"%s\"", type);
    if (strncmp(got, head, (size_t)n) != 0 || !strstr(got, text))
        fail_msg("not %s with %s: %.500s", type, text, got);
    return got;
}

void stream_client_expect_nothing(struct stream_client *c)
{
    while (stream_client_receives(c, 40))
        if (strncmp(buf_text(&c->message), "{\"type\":\"mark\"", 14) != 0)
            fail_msg("unexpected: %.500s", buf_text(&c->message));
}

void stream_client_expect_close(struct stream_client *c, uint16_t status)
{
    if (stream_client_receives(c, 60000))
        fail_msg("not closed, but: %s", buf_text(&c->message));
    assert_int_equal(c->status, status);
}

/* --- a client's state ------------------------------------------------------------------------------- */

static const char *key_of_item(json_t *item)
{
    json_t *id = json_object_get(item, "id");
    return json_string_value(id ? id : json_object_get(item, "key"));
}

static void take_snapshot(struct stream_model *m, json_t *frame)
{
    json_t *item;
    size_t i;
    if (json_integer_value(json_object_get(frame, "part")) == 1) {
        json_decref(m->parts);
        m->parts = json_object();
        m->revision = json_integer_value(json_object_get(frame, "revision"));
    }
    assert_non_null(m->parts);
    assert_int_equal(m->revision, json_integer_value(json_object_get(frame, "revision")));
    json_array_foreach(json_object_get(frame, "items"), i, item)
        json_object_set(m->parts, key_of_item(item), item);
    if (!json_is_true(json_object_get(frame, "last")))
        return;
    json_decref(m->items);
    m->items = m->parts;
    m->parts = NULL;
    m->snapshots++;
}

static void take_delta(struct stream_model *m, json_t *frame)
{
    json_t *item;
    size_t i;
    assert_null(m->parts);
    assert_int_equal(m->revision, json_integer_value(json_object_get(frame, "previous")));
    assert_true(json_integer_value(json_object_get(frame, "revision")) >= m->revision);
    m->revision = json_integer_value(json_object_get(frame, "revision"));
    if (!m->items)
        m->items = json_object();
    json_array_foreach(json_object_get(frame, "put"), i, item)
        json_object_set(m->items, key_of_item(item), item);
    json_array_foreach(json_object_get(frame, "delete"), i, item)
        json_object_del(m->items, json_string_value(item));
    m->deltas++;
}

void stream_model_take(struct stream_model *m, const char *message)
{
    char error[200];
    json_t *frame;
    if (json_parse(slice_text(message), &frame, error, sizeof error))
        fail_msg("%s: %s", error, message);
    const char *type = json_string_value(json_object_get(frame, "type"));
    if (json_integer_value(json_object_get(frame, "sid")) == m->sid) {
        if (strcmp(type, "snapshot") == 0)
            take_snapshot(m, frame);
        else if (strcmp(type, "delta") == 0)
            take_delta(m, frame);
        else if (strcmp(type, "resync") == 0)
            m->resyncs++;
        else
            fail_msg("unexpected: %s", message);
    }
    json_decref(frame);
}

void stream_model_done(struct stream_model *m)
{
    json_decref(m->items);
    json_decref(m->parts);
    *m = (struct stream_model){0};
}

/* --- the usual beginning of a conversation ---------------------------------------------------------- */

char *stream_text(const char *text, ...)
{
    static char texts[8][4096];
    static unsigned next;
    va_list args;
    char *to = texts[next++ % 8];
    va_start(args, text);
    vsnprintf(to, sizeof texts[0], text, args);
    va_end(args);
    return to;
}

void stream_client_hello(struct stream_client *c, struct stream_world *w, const char *more)
{
    stream_client_open(c, w, "");
    stream_client_say(c, stream_text("{\"type\":\"hello\"%s}", more));
    stream_client_expect_frame(c, "welcome", "");
}

void stream_client_subscribe(struct stream_client *c, int sid, const char *kind, const char *more)
{
    stream_client_say(c,
                      stream_text("{\"type\":\"subscribe\",\"sid\":%d,\"kind\":\"%s\"%s}", sid, kind, more));
}
