/* SPDX-License-Identifier: Apache-2.0
 * Fault: a server takes frames of a client that are not masked.
 *
 * RFC 6455, 5.1: "The server MUST close the connection upon receiving a frame that is not masked"; 10.3 says
 * why: unmasked bytes let a page write what a cache on the way takes for a request of its own.
 *
 * Upstream: mended by commit cae06c63a (July 2026), in 5.0.0; not in 4.1, 4.3 or 4.5. */
#include "tests/interop/libwebsockets/fault.h"

enum { CLOSE_FRAME = 0x88 };

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    if (reason == LWS_CALLBACK_ESTABLISHED)
        fault_counts->begun++;
    if (reason == LWS_CALLBACK_RECEIVE)
        fault_keep(in, size);
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

int main(void)
{
    static const struct lws_protocols protocols[] = {{.name = "stream", .callback = on_event}, {0}};
    struct fault_server s = fault_server_start(protocols, NULL);
    char answer[4096];
    bool is_closed;
    int fd = fault_connect(&s), signal;
    fault_send_text(fd, FAULT_UPGRADE "\r\n");
    fault_receive(fd, answer, sizeof answer, 300, &is_closed);
    bool is_open = strncmp(answer, "HTTP/1.1 101", 12) == 0;
    fault_send(fd, "\x81\x05hello", 7);
    fault_receive(fd, answer, sizeof answer, 1000, &is_closed);
    is_closed = is_closed || (uint8_t)answer[0] == CLOSE_FRAME;
    fault_server_stop(&s, &signal);
    if (!is_open)
        return 2;
    return fault_verdict(fault_counts->received != 0 || !is_closed,
                         "of an unmasked frame the handler got %u of 5 bytes, connection %s",
                         fault_counts->received, is_closed ? "closed" : "open");
}
