/* SPDX-License-Identifier: Apache-2.0
 * etcd's RPCs through the JSON gateway: structs to JSON, an HTTP call, JSON to structs. A stream is lines
 * of {"result":...}. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "proto/json.h"
#include "sdk/http_client.h"

enum {
    LINE_MAX_BYTES = 256 << 20,
    RESOURCE_EXHAUSTED = 8, /* a status of gRPC */
};

static const char *code_name(int code)
{
    static const char *const names[] = {
        "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated"};
    return code >= 0 && code < (int)(sizeof names / sizeof *names) ? names[code] : "Unknown";
}

/* Reads {"code":5,"message":"..."}; in a stream it is inside "error" (with grpc_code). */
static void read_error(struct ctl_rpc *rpc, struct slice text, int status)
{
    char why[200];
    json_t *doc = NULL;
    if (json_parse(text, &doc, why, sizeof why) != OK) {
        const char *advice = ctl_gateway_advice(text);
        if (advice)
            snprintf(rpc->error, sizeof rpc->error, "%s", advice);
        else
            snprintf(rpc->error, sizeof rpc->error, "HTTP status %d; is that a cairnd or an etcd?", status);
        return;
    }
    const json_t *inside =
        json_is_object(json_object_get(doc, "error")) ? json_object_get(doc, "error") : doc;
    rpc->code = (int)ctl_json_int(inside, json_object_get(inside, "grpc_code") ? "grpc_code" : "code");
    const char *message = ctl_json_text(inside, "message");
    bool is_etcds = strncmp(message, "etcdserver: ", 12) == 0;
    if (is_etcds)
        snprintf(rpc->error, sizeof rpc->error, "%s", message);
    else
        snprintf(rpc->error, sizeof rpc->error, "rpc error: code = %s desc = %s", code_name(rpc->code),
                 message);
    json_decref(doc);
}

/* The advice for an error of etcd. */
static const char *advice(const struct ctl_rpc *rpc)
{
    static const struct {
        const char *part, *advice;
    } list[] = {
        {"no leader", ". Most members are down or cut off: \"cairnctl doctor\" looks closer."},
        {"has been compacted", ". That history is gone: take a newer revision."},
        {"future revision", ". No change has that revision yet."},
        {"space exceeded", ". Delete keys, \"cairnctl compaction\", then \"cairnctl alarm disarm\"."},
        {"lease not found", ". It has ended, or never was."},
        {"invalid downgrade target version",
         ". It is the version one below that of \"cairnctl endpoint status\"."},
        {"downgrade job in progress", ". \"cairnctl downgrade cancel\" ends it."},
        {"user name is empty", ". --user names the user."},
        {"permission denied", ". --user asks as somebody else."},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strstr(rpc->error, list[i].part))
            return list[i].advice;
    }
    return "";
}

static enum ctl_exit ctl_rpc_fail(struct ctl *c, struct ctl_rpc *rpc, const char *endpoint)
{
    if (rpc->is_quiet)
        return CTL_ERROR;
    if (c->line.is_etcdctl)
        return ctl_fail(c, CTL_ERROR, "%s", rpc->error);
    return ctl_fail(c, CTL_ERROR, "%s (%s)%s", rpc->error, endpoint, advice(rpc));
}

static enum ctl_exit read_answer(struct ctl *c, struct ctl_rpc *rpc, const struct ctl_call *call,
                                 void *ret_answer)
{
    ProtobufCMessage *m = NULL;
    char why[200];
    if (call->status != 200) {
        read_error(rpc, buf_slice(&call->answer), call->status);
        return ctl_rpc_fail(c, rpc, call->endpoint);
    }
    if (json_to_message(rpc->answer, buf_slice(&call->answer), &c->arena, why, sizeof why, &m) != OK) {
        snprintf(rpc->error, sizeof rpc->error, "an answer that cannot be read: %s", why);
        return ctl_rpc_fail(c, rpc, call->endpoint);
    }
    int64_t max = ctl_int(&c->line, "max-recv-bytes");
    size_t size = max > 0 ? protobuf_c_message_get_packed_size(m) : 0;
    if (max > 0 && size > (uint64_t)max) {
        rpc->code = RESOURCE_EXHAUSTED;
        snprintf(rpc->error, sizeof rpc->error,
                 "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (%zu vs. "
                 "%" PRId64 ")",
                 size, max);
        return ctl_rpc_fail(c, rpc, call->endpoint);
    }
    *(ProtobufCMessage **)ret_answer = m;
    return CTL_DONE;
}

/* Checks --max-request-bytes, whose errors are those of gRPC's client. */
static enum ctl_exit check_request(struct ctl *c, struct ctl_rpc *rpc)
{
    int64_t max = ctl_int(&c->line, "max-request-bytes");
    size_t size = max > 0 ? protobuf_c_message_get_packed_size(rpc->request) : 0;
    if (max <= 0 || size <= (uint64_t)max)
        return CTL_DONE;
    rpc->code = RESOURCE_EXHAUSTED;
    snprintf(rpc->error, sizeof rpc->error,
             "rpc error: code = ResourceExhausted desc = trying to send message larger than max (%zu vs. "
             "%" PRId64 ")",
             size, max);
    return ctl_rpc_fail(c, rpc, c->endpoints[c->at].text);
}

enum ctl_exit ctl_rpc(struct ctl *c, struct ctl_rpc *rpc, void *ret_answer)
{
    enum ctl_exit refused = check_request(c, rpc);
    if (refused)
        return refused;
    struct buf body = {0};
    message_to_json(rpc->request, &body);
    struct ctl_call call = {.method = "POST",
                            .body = buf_slice(&body),
                            .has_body = true,
                            .is_read = rpc->is_read,
                            .timeout_ms = rpc->timeout_ms};
    ctl_path(&call, rpc->path);
    int err = ctl_send(c, &call);
    enum ctl_exit how;
    if (!err) {
        how = read_answer(c, rpc, &call, ret_answer);
    } else if (rpc->is_quiet) {
        snprintf(rpc->error, sizeof rpc->error, "%s",
                 err == ERR_DEADLINE || c->line.is_etcdctl ? "context deadline exceeded" : c->why);
        how = err == ERR_CANCELED ? CTL_INTERRUPTED : CTL_BAD_CONNECTION;
    } else {
        how = ctl_fail_reach(c, err);
    }
    ctl_call_done(&call);
    buf_done(&body);
    return how;
}

enum ctl_exit ctl_rpc_at(struct ctl *c, size_t endpoint, struct ctl_rpc *rpc, void *ret_answer)
{
    size_t at = c->at;
    c->at = endpoint;
    c->is_pinned = true;
    enum ctl_exit how = ctl_rpc(c, rpc, ret_answer);
    c->is_pinned = false;
    c->at = at;
    return how;
}

/* --- streams -------------------------------------------------------------------------------------------- */

void ctl_stream_done(struct ctl_stream *s)
{
    http_client_free(s->client);
    buf_done(&s->in);
    arena_done(&s->arena);
    *s = (struct ctl_stream){0};
}

static enum ctl_exit ctl_rpc_open_stream(struct ctl *c, struct ctl_rpc *rpc, bool is_two_way,
                                         struct ctl_stream *s)
{
    struct buf body = {0};
    message_to_json(rpc->request, &body);
    struct ctl_call call = {.method = "POST",
                            .body = buf_slice(&body),
                            .has_body = true,
                            .is_read = true,
                            .is_two_way = is_two_way,
                            .timeout_ms = rpc->timeout_ms};
    ctl_path(&call, rpc->path);
    s->answer = rpc->answer;
    int err = ctl_open_stream(c, &call, &s->client);
    enum ctl_exit how = CTL_DONE;
    if (err && s->is_quiet) {
        how = err == ERR_CANCELED ? CTL_INTERRUPTED : CTL_BAD_CONNECTION;
    } else if (err) {
        how = ctl_fail_reach(c, err);
    } else if (call.status != 200) {
        read_error(rpc, buf_slice(&call.answer), call.status);
        how = ctl_rpc_fail(c, rpc, call.endpoint);
    }
    ctl_call_done(&call);
    buf_done(&body);
    return how;
}

enum ctl_exit ctl_stream_open(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s)
{
    return ctl_rpc_open_stream(c, rpc, false, s);
}

enum ctl_exit ctl_stream_open_two_way(struct ctl *c, struct ctl_rpc *rpc, struct ctl_stream *s)
{
    return ctl_rpc_open_stream(c, rpc, true, s);
}

/* Reads {"result":{...}} or {"error":{...}} */
static enum ctl_exit read_line(struct ctl *c, struct ctl_stream *s, struct slice line, void *ret_answer)
{
    static const char head[] = "{\"result\":";
    struct ctl_rpc rpc = {0};
    char why[200];
    if (line.size <= sizeof head || memcmp(line.data, head, sizeof head - 1) != 0) {
        read_error(&rpc, line, 200);
        return ctl_rpc_fail(c, &rpc, c->endpoints[c->at].text);
    }
    struct slice inside =
        slice_of(line.data + sizeof head - 1,
                 line.size - sizeof head + 1); /* reads one value and ignores the last brace */
    if (json_to_message(s->answer, inside, &s->arena, why, sizeof why, (ProtobufCMessage **)ret_answer) != OK)
        return ctl_fail(c, CTL_ERROR, "%s sent something that cannot be read: %s", c->endpoints[c->at].text,
                        why);
    return CTL_DONE;
}

/* Takes a complete line; false: there is none yet. Empty lines are skipped. */
static bool take_line(struct ctl_stream *s, struct slice *ret_line)
{
    const uint8_t *end;
    while ((end = s->in.size > s->scanned ? memchr(s->in.data + s->scanned, '\n', s->in.size - s->scanned)
                                          : NULL)) {
        size_t size = (size_t)(end - s->in.data);
        *ret_line = slice_of(s->in.data, size);
        s->used = size + 1;
        s->scanned = 0;
        if (size)
            return true;
        buf_consume(&s->in, 1);
        s->used = 0;
    }
    s->scanned = s->in.size;
    return false;
}

static enum ctl_exit fail_broken(struct ctl *c, const struct ctl_stream *s)
{
    if (s->is_quiet)
        return CTL_BAD_CONNECTION;
    return ctl_fail(c, CTL_BAD_CONNECTION, "the connection to %s broke: %s", c->endpoints[c->at].text,
                    http_client_error(s->client));
}

static enum ctl_exit fail_ended(struct ctl *c, const struct ctl_stream *s)
{
    if (s->is_quiet)
        return CTL_BAD_CONNECTION;
    return ctl_fail(c, CTL_BAD_CONNECTION, "%s has ended the stream", c->endpoints[c->at].text);
}

static enum ctl_exit next_message(struct ctl *c, struct ctl_stream *s, int64_t timeout_ms, int wake_fd,
                                  void *ret_answer)
{
    struct slice line;
    *(ProtobufCMessage **)ret_answer = NULL;
    buf_consume(&s->in, s->used);
    s->used = 0;
    arena_reset(&s->arena);
    while (!take_line(s, &line)) {
        if (s->in.size > LINE_MAX_BYTES)
            return ctl_fail(c, CTL_ERROR, "%s sent a message of more than 256 MiB", c->endpoints[c->at].text);
        bool is_end = false;
        int err = http_client_read(s->client, timeout_ms, wake_fd, &s->in, &is_end);
        if (err == ERR_CANCELED)
            return CTL_INTERRUPTED;
        if (err)
            return fail_broken(c, s);
        if (is_end)
            return wake_fd < 0 ? CTL_DONE : fail_ended(c, s);
        if (wake_fd >= 0 && !take_line(s, &line))
            return CTL_DONE;
        if (wake_fd >= 0)
            break;
    }
    return read_line(c, s, line, ret_answer);
}

enum ctl_exit ctl_stream_next(struct ctl *c, struct ctl_stream *s, int64_t timeout_ms, void *ret_answer)
{
    return next_message(c, s, timeout_ms, -1, ret_answer);
}

enum ctl_exit ctl_stream_poll(struct ctl *c, struct ctl_stream *s, int wake_fd, void *ret_answer)
{
    return next_message(c, s, -1, wake_fd, ret_answer);
}

/* --- numbers and ranges --------------------------------------------------------------------------------- */

bool ctl_hex_u64(const char *text, uint64_t *ret)
{
    uint64_t value = 0;
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        uint32_t digit;
        if (value >> 60 || !text_hex((const uint8_t *)text + i, (const uint8_t *)text + i + 1, 1, &digit))
            return false;
        value = value << 4 | digit;
    }
    *ret = value;
    return size > 0;
}

enum ctl_exit ctl_read_lease(struct ctl *c, const char *text, const char *what, int64_t *ret_id)
{
    uint64_t id;
    if (!ctl_hex_u64(text, &id) || id > INT64_MAX)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "bad %s (strconv.ParseInt: parsing \"%s\": invalid syntax), expecting ID in Hex",
                        what, text);
    *ret_id = (int64_t)id;
    return CTL_DONE;
}

enum ctl_exit ctl_read_member(struct ctl *c, const char *text, uint64_t *ret_id)
{
    if (!ctl_hex_u64(text, ret_id))
        return ctl_fail(
            c, CTL_BAD_ARGS,
            "bad member ID arg (strconv.ParseUint: parsing \"%s\": invalid syntax), expecting ID in Hex",
            text);
    return CTL_DONE;
}

void ctl_from_key_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end)
{
    if (key->len == 0)
        *key = (ProtobufCBinaryData){1, arena_new(&c->arena, 1)};
    *range_end = (ProtobufCBinaryData){1, arena_new(&c->arena, 1)};
}

/* The range_end of a prefix: the last byte below 0xff is incremented. */
void ctl_prefix_range(struct ctl *c, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end)
{
    size_t size = key->len;
    while (size && key->data[size - 1] == 0xff)
        size--;
    if (size == 0) {
        ctl_from_key_range(c, key, range_end);
        return;
    }
    *range_end = (ProtobufCBinaryData){size, arena_copy(&c->arena, key->data, size)};
    range_end->data[size - 1]++;
}
