/* SPDX-License-Identifier: Apache-2.0
 * Search for an assertion that a client can reach. Debian builds libwebsockets with assertions, so one ends
 * the whole server.
 *
 * RFC 9110, 17: a server has to expect any bytes. Upstream met two such places on servers and removed them:
 * commit 2355b30fe (2022, lws_read_h1 in an unexpected state, issue #1872; in 4.4.0) and commit e5a9126e8
 * (2023, an empty buffer in lws_buflist_append_segment). Both are still in 4.1.6, and what a client has to
 * send to reach them is not known to us: this program sends legal and broken pieces in random order, from
 * fixed seeds, and says "not seen" when the server outlives them. random_client COUNT [SEED]: more of them.
 */
#include "tests/interop/libwebsockets/fault.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 400, PIECES_MAX = 6, ANSWER_AFTER_US = 10000, IDLE_MS = 2000 };

#define HOST "Host: 127.0.0.1\r\n"
#define PIECE(x)                                                                                             \
    {                                                                                                        \
        x, sizeof(x) - 1                                                                                     \
    }
static const struct piece {
    const char *data;
    size_t size;
} pieces[] = {
    PIECE("GET / HTTP/1.1\r\n" HOST "\r\n"),
    PIECE("GET /later HTTP/1.1\r\n" HOST "\r\n"),
    PIECE("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n"),
    PIECE("POST /body HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\none"),
    PIECE("PUT /body HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"),
    PIECE("POST /body HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: -1\r\n\r\n"),
    PIECE("CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n"),
    PIECE("GET / HTTP/1.1\r\n" HOST "Upgrade: other\r\nConnection: Upgrade\r\n\r\n"),
    PIECE("GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
          "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    PIECE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    PIECE("\0\0\0\4\0\0\0\0\0"),
    PIECE("\0\0\5\1\5\0\0\0\1\202\206\204\101\0"),
    PIECE("\0\0\4\3\0\0\0\0\1\0\0\0\0"),
    PIECE("GET /a?b=1&c=%41%zz;d HTTP/1.1\r\n"),
    PIECE("GET /../..//.%2e/"),
    PIECE("&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&"),
    PIECE("X-Other: value\r\n"),
    PIECE("Content-Length: 99999999999999999999\r\n"),
    PIECE("\r\n\r\n"),
    PIECE("\0"),
    PIECE("one"),
    PIECE(FAULT_UPGRADE "\r\n"),
    PIECE(FAULT_UPGRADE "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
    PIECE(FAULT_UPGRADE "Content-Length: 4\r\n\r\n"),
    PIECE("\x81\x85\1\2\3\4hello"),
    PIECE("\x01\x80\1\2\3\4"),
    PIECE("\x80\x80\1\2\3\4"),
    PIECE("\xc1\x85\0\0\0\0hello"),
    PIECE("\x88\x82\1\2\3\4\0\0"),
    PIECE("\x89\x84\0\0\0\0ping"),
    PIECE("\x81\xfe\x10\0\1\2\3\4"),
    PIECE("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4"),
    PIECE("\x81\x05hello"),
};

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
        if (strcmp(in, "/later") == 0)
            lws_set_timer_usecs(wsi, ANSWER_AFTER_US);
        return strcmp(in, "/later") == 0 || strcmp(in, "/body") == 0 ? 0 : fault_answer(wsi, "done");
    case LWS_CALLBACK_TIMER:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return fault_answer(wsi, "done");
    case LWS_CALLBACK_HTTP_BODY:
        return 0;
    }
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

static void set_up(struct lws_context_creation_info *info)
{
    static const struct lws_extension extensions[] = {
        {"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate"}, {0}};
    info->extensions = extensions;
}

static void send_some(const struct fault_server *s)
{
    char answer[4096];
    bool is_closed;
    int fd = fault_connect(s);
    for (int i = rand() % PIECES_MAX; i >= 0; i--) {
        const struct piece *p = &pieces[(size_t)rand() % (sizeof pieces / sizeof *pieces)];
        fault_send(fd, p->data, p->size);
        if (rand() % 2)
            fault_sleep_ms(1);
    }
    if (rand() % 2)
        shutdown(fd, SHUT_WR);
    fault_receive(fd, answer, sizeof answer, rand() % 2 ? 1 : 20, &is_closed);
    close(fd);
}

int main(int argc, char **argv)
{
    static const struct lws_protocols protocols[] = {{.name = "http", .callback = on_event}, {0}};
    struct fault_server s = fault_server_start(protocols, set_up);
    int count = argc > 1 ? atoi(argv[1]) : CONNECTIONS, seed = argc > 2 ? atoi(argv[2]) : 1, signal = 0,
        done = 0;
    while (done < count && fault_server_is_up(&s)) {
        srand((unsigned)(seed + done++));
        send_some(&s);
    }
    fault_sleep_ms(IDLE_MS); /* every client has gone */
    double before_s = fault_server_cpu_s(&s);
    fault_sleep_ms(IDLE_MS);
    double idle_s = fault_server_cpu_s(&s) - before_s;
    if (fault_server_stop(&s, &signal))
        return fault_verdict(true, "seed %d ends the server with signal %d", seed + done - 1, signal);
    const char *version = lws_get_library_version();
    printf(
        "not seen in libwebsockets %.*s: the server outlives %d connections (and uses %.2f s of CPU a second "
        "when all have gone: second_post)\n",
        (int)strspn(version, "0123456789."), version, done, idle_s * 1000 / IDLE_MS);
    return 0;
}
