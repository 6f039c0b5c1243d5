/* SPDX-License-Identifier: Apache-2.0
 * Fault: a request whose header fields exceed max_http_header_data is not answered; the connection is closed.
 *
 * RFC 6585, 5: 431 (Request Header Fields Too Large); RFC 9110, 5.4: a server that receives fields larger
 * than it accepts MUST respond with an appropriate 4xx. A user whose token has grown sees a broken
 * connection, and an intermediary reports 502.
 *
 * Upstream: issues #582, #1270 and #2944, answered by "increase max_http_header_data", which has 16 bits;
 * the same in 5.0.0. */
#include "tests/interop/libwebsockets/fault.h"

enum { FIELD_SIZE = 6000 };

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    if (reason == LWS_CALLBACK_HTTP) {
        fault_counts->begun++;
        return fault_answer(wsi, "done");
    }
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

int main(void)
{
    static const struct lws_protocols protocols[] = {{.name = "http", .callback = on_event}, {0}};
    struct fault_server s = fault_server_start(protocols, NULL);
    char request[FIELD_SIZE + 200], answer[4096];
    bool is_closed;
    int fd = fault_connect(&s), signal;
    int n = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: ");
    memset(request + n, 'a', FIELD_SIZE);
    strcpy(request + n + FIELD_SIZE, "\r\n\r\n");
    fault_send_text(fd, request);
    size_t got = fault_receive(fd, answer, sizeof answer, 1500, &is_closed);
    fault_server_stop(&s, &signal);
    bool is_told = strncmp(answer, "HTTP/1.1 4", 10) == 0 || strncmp(answer, "HTTP/1.1 2", 10) == 0;
    return fault_verdict(!is_told, "a field of %d bytes: %zu bytes of answer%s%.12s%s, connection %s",
                         FIELD_SIZE, got, got ? " (" : "", answer, got ? ")" : "",
                         is_closed ? "closed" : "open");
}
