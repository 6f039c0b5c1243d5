/* SPDX-License-Identifier: Apache-2.0
 * The gRPC part of a health check; see probe_grpc.h.
 *
 * The session answers PING and SETTINGS by itself. The server can cause such answers, so the bytes that it may
 * send are limited, and with them those that go back. */
#include "server/probe/probe_grpc.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "proto/health.pb-c.h"

enum {
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
    MESSAGE_HEAD = 5, /* compressed or not, and the size */
    SETTINGS_HEADERS_MAX = 8 << 10,
};

struct probe_grpc {
    nghttp2_session *session;
    struct buf request; /* the message */
    size_t sent;        /* bytes of it */
    size_t received;    /* bytes of the server */
    int32_t stream;
    bool is_over;
    uint32_t reset_code;
    int http_status, grpc_status; /* 0, -1: not known */
    bool has_other_type;          /* content-type is not that of gRPC */
    uint8_t message[PROBE_GRPC_MESSAGE_MAX];
    size_t message_size;
    bool is_message_long;
};

/* --- the response --------------------------------------------------------------------------------------- */

/* "application/grpc", "application/grpc+proto", with parameters or without. */
static bool is_grpc(struct slice content_type)
{
    static const char wanted[] = "application/grpc";
    size_t n = sizeof wanted - 1;
    return content_type.size >= n && memcmp(content_type.data, wanted, n) == 0 &&
           (content_type.size == n || content_type.data[n] == '+' || content_type.data[n] == ';');
}

static int probe_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                           size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                           void *arg)
{
    struct probe_grpc *g = arg;
    struct slice field = slice_of(name, name_size), text = slice_of(value, value_size);
    uint64_t number;
    (void)session;
    (void)flags;
    if (frame->hd.stream_id != g->stream)
        return 0;
    if (slice_equal(field, slice_text(":status")) && text_to_u64(text, &number) == OK && number < 1000)
        g->http_status = (int)number;
    else if (slice_equal(field, slice_text("grpc-status")))
        g->grpc_status = text_to_u64(text, &number) == OK && number <= 16 ? (int)number : 2;
    else if (slice_equal(field, slice_text("content-type")))
        g->has_other_type = !is_grpc(text);
    return 0;
}

static int probe_on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                         size_t size, void *arg)
{
    struct probe_grpc *g = arg;
    (void)session;
    (void)flags;
    if (stream != g->stream || g->is_message_long)
        return 0;
    if (size > sizeof g->message - g->message_size) {
        g->is_message_long = true;
        return 0;
    }
    memcpy(g->message + g->message_size, data, size);
    g->message_size += size;
    return 0;
}

static int probe_on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    struct probe_grpc *g = arg;
    (void)session;
    if (stream != g->stream)
        return 0;
    g->is_over = true;
    g->reset_code = code;
    return 0;
}

/* The one message of the response. False: it is none. */
static bool read_message(const struct probe_grpc *g, int *ret_serving)
{
    const uint8_t *m = g->message;
    if (g->is_message_long || g->message_size < MESSAGE_HEAD || m[0] != 0 ||
        get_be32(m + 1) != g->message_size - MESSAGE_HEAD)
        return false;
    Grpc__Health__V1__HealthCheckResponse *response = grpc__health__v1__health_check_response__unpack(
        NULL, g->message_size - MESSAGE_HEAD, m + MESSAGE_HEAD);
    if (!response)
        return false;
    *ret_serving = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return true;
}

static enum check_outcome status_outcome(int status, char *output, size_t size)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED",
    };
    const char *why = status == 12  ? " (the server has no health service)"
                      : status == 5 ? " (the server does not know this service)"
                                    : "";
    snprintf(output, size, "gRPC status %d %s%s", status, names[status], why);
    return CHECK_FAIL;
}

bool probe_grpc_outcome(const struct probe_grpc *g, enum check_outcome *ret_outcome, char *output,
                        size_t output_size)
{
    static const char *const texts[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    int serving;
    if (!g->is_over)
        return false;
    *ret_outcome = CHECK_FAIL;
    if (g->http_status && g->http_status != 200)
        snprintf(output, output_size, "HTTP %d instead of a gRPC response", g->http_status);
    else if (g->http_status && g->has_other_type)
        snprintf(output, output_size, "the response is not of gRPC: another content-type");
    else if (g->grpc_status > 0)
        *ret_outcome = status_outcome(g->grpc_status, output, output_size);
    else if (g->grpc_status < 0 && g->reset_code)
        snprintf(output, output_size, "the server ended the call with HTTP/2 error %u",
                 (unsigned)g->reset_code);
    else if (g->grpc_status < 0)
        snprintf(output, output_size, "the server ended the call without a gRPC status");
    else if (!read_message(g, &serving) || serving < 0 || serving >= (int)(sizeof texts / sizeof *texts))
        snprintf(output, output_size, "the response is no HealthCheckResponse");
    else {
        *ret_outcome = serving == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                           ? CHECK_PASS
                           : CHECK_FAIL;
        snprintf(output, output_size, "gRPC %s", texts[serving]);
    }
    return true;
}

/* --- the request ---------------------------------------------------------------------------------------- */

static ssize_t probe_on_read(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size,
                             uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct probe_grpc *g = arg;
    size_t n = g->request.size - g->sent < size ? g->request.size - g->sent : size;
    (void)session;
    (void)stream;
    (void)source;
    memcpy(to, g->request.data + g->sent, n);
    g->sent += n;
    if (g->sent == g->request.size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv field_of(const char *name, const char *value)
{
    nghttp2_nv nv = {.namelen = strlen(name), .valuelen = strlen(value)};
    memcpy(&nv.name, &name, sizeof name); /* nghttp2's type is not const, but the bytes are only read */
    memcpy(&nv.value, &value, sizeof value);
    return nv;
}

static void write_message(struct probe_grpc *g, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest message;
    grpc__health__v1__health_check_request__init(&message);
    message.service = mem_string(service);
    size_t size = grpc__health__v1__health_check_request__get_packed_size(&message);
    uint8_t *body = mem_alloc(size + 1);
    grpc__health__v1__health_check_request__pack(&message, body);
    buf_add_byte(&g->request, 0);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_add_byte(&g->request, (uint8_t)(size >> shift));
    buf_add(&g->request, body, size);
    mem_free(body);
    mem_free(message.service);
}

static int submit(struct probe_grpc *g, const char *host, uint16_t port, bool is_tls)
{
    bool is_v6 = strchr(host, ':') != NULL;
    struct buf authority = {0};
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, SETTINGS_HEADERS_MAX}};
    nghttp2_data_provider provider = {.read_callback = probe_on_read};
    buf_addf(&authority, "%s%s%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "");
    if (port && port != (is_tls ? HTTPS_PORT : HTTP_PORT))
        buf_addf(&authority, ":%u", port);
    nghttp2_nv fields[] = {
        field_of(":method", "POST"),
        field_of(":scheme", is_tls ? "https" : "http"),
        field_of(":path", "/grpc.health.v1.Health/Check"),
        field_of(":authority", buf_text(&authority)),
        field_of("content-type", "application/grpc"),
        field_of("te", "trailers"),
        field_of("user-agent", "cairn-check"),
    };
    int rc =
        nghttp2_submit_settings(g->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
    if (!rc)
        g->stream =
            nghttp2_submit_request(g->session, NULL, fields, sizeof fields / sizeof *fields, &provider, NULL);
    buf_done(&authority);
    return rc || g->stream < 0 ? -1 : 0;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

struct probe_grpc *probe_grpc_new(const char *host, uint16_t port, bool is_tls, const char *service)
{
    struct probe_grpc *g = mem_new(sizeof *g);
    nghttp2_session_callbacks *callbacks = NULL;
    g->grpc_status = -1;
    write_message(g, service);
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (!rc) {
        nghttp2_session_callbacks_set_on_header_callback(callbacks, probe_on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, probe_on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, probe_on_close);
        rc = nghttp2_session_client_new(&g->session, callbacks, g);
    }
    nghttp2_session_callbacks_del(callbacks);
    if (!rc)
        rc = submit(g, host, port, is_tls);
    if (rc) {
        probe_grpc_free(g);
        return NULL;
    }
    return g;
}

void probe_grpc_free(struct probe_grpc *g)
{
    if (!g)
        return;
    nghttp2_session_del(g->session);
    buf_done(&g->request);
    mem_free(g);
}

int probe_grpc_feed(struct probe_grpc *g, struct slice bytes)
{
    if (g->is_over)
        return OK;
    g->received += bytes.size;
    if (g->received > PROBE_GRPC_BYTES_MAX)
        return ERR_LIMIT;
    return nghttp2_session_mem_recv(g->session, bytes.data, bytes.size) < 0 ? ERR_MALFORMED : OK;
}

int probe_grpc_take_output(struct probe_grpc *g, struct buf *out)
{
    for (;;) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(g->session, &bytes);
        if (n < 0)
            return ERR_LIMIT;
        if (n == 0) /* after an error of the protocol the session sends a GOAWAY, and reads no more */
            return g->is_over || nghttp2_session_want_read(g->session) ? OK : ERR_MALFORMED;
        buf_add(out, bytes, (size_t)n);
    }
}
