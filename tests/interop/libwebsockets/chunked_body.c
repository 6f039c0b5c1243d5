/* SPDX-License-Identifier: Apache-2.0
 * Fault: the body of a request with "Transfer-Encoding: chunked" is not decoded, and its end is not seen.
 *
 * RFC 9112, 7.1: a recipient MUST be able to parse and decode the chunked transfer coding; 6.1: a server that
 * does not understand a coding answers 501. Go's, Java's and Node's clients send chunks when they stream.
 *
 * Upstream: issue #724 (2016: "chunked transfer-encoding for file upload is not supported as it stands"); the
 * same in 5.0.0. */
#include "tests/interop/libwebsockets/fault.h"

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
        fault_counts->begun++;
        return 0;
    case LWS_CALLBACK_HTTP_BODY:
        fault_keep(in, size);
        return 0;
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        fault_counts->completed++;
        return fault_answer(wsi, "done");
    }
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

int main(void)
{
    static const struct lws_protocols protocols[] = {{.name = "http", .callback = on_event}, {0}};
    struct fault_server s = fault_server_start(protocols, NULL);
    char answer[4096];
    bool is_closed;
    int fd = fault_connect(&s), signal;
    fault_send_text(fd, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5\r\nhello\r\n0\r\n\r\n");
    fault_receive(fd, answer, sizeof answer, 1500, &is_closed);
    fault_server_stop(&s, &signal);
    bool is_decoded = strcmp(fault_counts->text, "hello") == 0 && fault_counts->completed == 1;
    bool is_refused = strncmp(answer, "HTTP/1.1 501", 12) == 0 || strncmp(answer, "HTTP/1.1 411", 12) == 0;
    return fault_verdict(!is_decoded && !is_refused, "of 5 bytes in chunks the handler got %u, %s, %s",
                         fault_counts->received,
                         fault_counts->completed ? "and their end" : "but not their end",
                         answer[0] ? "and there was an answer" : "and there was no answer");
}
