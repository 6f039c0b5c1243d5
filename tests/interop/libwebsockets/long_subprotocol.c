/* SPDX-License-Identifier: Apache-2.0
 * Fault: an upgrade whose Sec-WebSocket-Protocol list has more than 126 bytes is not answered; the connection
 * is closed.
 *
 * RFC 6455, 4.1 and 11.3.4 give the list no limit. Browsers cannot set Authorization on a WebSocket, so
 * etcd's gateway takes "Bearer, <token>" there, and a JWT has hundreds of bytes.
 *
 * Upstream: issues #254 (a JWT, 2015: "reserving 1K for the name is too bloaty") and #2796. The buffer in
 * lws_process_ws_upgrade has 128 bytes in 5.0.0, too. */
#include "tests/interop/libwebsockets/fault.h"

enum { TOKEN_SIZE = 300 };

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    if (reason == LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION) {
        int n = lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL);
        fault_counts->received = n > 0 ? (unsigned)n : 0;
    }
    if (reason == LWS_CALLBACK_ESTABLISHED)
        fault_counts->begun++;
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

int main(void)
{
    static const struct lws_protocols protocols[] = {
        {.name = "http", .callback = lws_callback_http_dummy}, {.name = "Bearer", .callback = on_event}, {0}};
    struct fault_server s = fault_server_start(protocols, NULL);
    char token[TOKEN_SIZE + 1] = {0}, request[TOKEN_SIZE + 400], answer[4096];
    bool is_closed;
    int fd = fault_connect(&s), signal;
    memset(token, 'a', TOKEN_SIZE);
    snprintf(request, sizeof request, FAULT_UPGRADE "Sec-WebSocket-Protocol: Bearer, %s\r\n\r\n", token);
    fault_send_text(fd, request);
    size_t got = fault_receive(fd, answer, sizeof answer, 1500, &is_closed);
    fault_server_stop(&s, &signal);
    bool is_open = strncmp(answer, "HTTP/1.1 101", 12) == 0 && fault_counts->received >= TOKEN_SIZE;
    return fault_verdict(!is_open, "a token of %d bytes: %zu bytes of answer, connection %s", TOKEN_SIZE, got,
                         is_closed ? "closed" : "open");
}
