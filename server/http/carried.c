/* SPDX-License-Identifier: Apache-2.0
 * Carried requests (carrier.h): a struct http_conn without a socket, for one request. Its input is the body alone,
 * its output goes to the carrier at once. */
#include <stdio.h>

#include "server/http/conn.h"

static struct http_conn *carried_open(struct http_server *s, const struct http_carried_options *o)
{
    struct http_conn *c = http_conn_new(s, o->role, o->is_tls);
    s->carried_count++;
    c->carrier = o->carrier;
    c->stream = o->stream;
    c->carried_name = o->common_name;
    c->carried_source = o->source;
    c->is_keep_alive = true;
    snprintf(c->peer, sizeof c->peer, "%s", o->peer);
    http_server_watch(s);
    return c;
}

static void carried_begin(struct http_conn *c, struct buf *text, const struct http_head *head, int status,
                          bool has_body)
{
    http_conn_reset_request(c);
    buf_done(&c->head);
    c->head = buf_move(text);
    c->is_input_ended = !has_body;
    c->is_processing = true; /* output leaves in one piece at the end */
    http_conn_begin(c, head, status);
    if (!has_body)
        http_conn_end_input(c);
    c->is_processing = false;
    http_conn_flush(c);
}

/* Bytes that wait are bounded by the stream's window, and counted with all incomplete bodies. */
static void carried_body(struct http_conn *c, struct slice bytes)
{
    if (c->phase != CONN_REQUEST) {
        c->carrier->consumed(c->stream, bytes.size);
        return;
    }
    if (c->is_websocket)
        turn_enter(TURN_WEBSOCKET);
    http_conn_receive(c, bytes);
    if (c->phase != CONN_REQUEST || http_conn_gather(c, c->request.body.size + c->in.size))
        return;
    if (c->is_websocket) {
        http_conn_notify_gone(c);
        http_ws_close(c, WS_TRY_LATER);
    } else {
        http_conn_refuse(c, 503, "too many bytes of unfinished requests");
        http_conn_flush(c);
    }
}

static void carried_body_end(struct http_conn *c)
{
    c->is_input_ended = true;
    if (c->in.size || c->has_body_ended)
        return; /* later, or answered and discarded */
    http_conn_end_input(c);
    http_conn_flush(c);
}

static void carried_took(struct http_conn *c, size_t size)
{
    c->took_ms = http_now_ms(c->server);
    output_took(&c->output, size, c->took_ms);
}

static void carried_writable(struct http_conn *c)
{
    if (c->was_congested || c->is_backlogged)
        http_conn_on_writable(c);
}

static void carried_free(struct http_conn *c)
{
    http_conn_free(c);
}

const struct http_carried http_carried = {
    .open = carried_open,
    .begin = carried_begin,
    .body = carried_body,
    .body_end = carried_body_end,
    .took = carried_took,
    .writable = carried_writable,
    .free = carried_free,
};
