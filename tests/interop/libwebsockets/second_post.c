/* SPDX-License-Identifier: Apache-2.0
 * Fault: two POSTs that arrive in one packet make the server loop.
 *
 * RFC 9112, 9.3.2: a client may send a second request before the answer to the first one ("pipelining"); the
 * server answers in order. A handler of ours often answers when the cluster has agreed, so later than the end
 * of the body; both ways are tried.
 *
 * Cause, where the answer comes later: while the second request waits in the buffer, lws_read_h1 is called in
 * the state LRS_BODY with nothing left of the first body. It takes nothing from the buffer and reports the
 * first body's end (LWS_CALLBACK_HTTP_BODY_COMPLETION) again, as often as the CPU allows.
 *
 * Upstream: issue #638 (2016) tells of second requests that get no answer. Commit 5f164266b (March 2026, in
 * 5.0.0) holds them back in one more state; 5.0.0 still loops. */
#include "tests/interop/libwebsockets/fault.h"

#include <unistd.h>

enum { ANSWER_AFTER_MS = 500, IDLE_MS = 1000, COMPLETIONS_MAX = 2 };

static const double IDLE_CPU_S = 0.1;

static const char TWO_POSTS[] = "POST /1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\none"
                                "POST /2 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\ntwo";

static bool is_answered_later;

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
        if (fault_counts->completed++ < COMPLETIONS_MAX && is_answered_later)
            lws_set_timer_usecs(wsi, ANSWER_AFTER_MS * 1000);
        return is_answered_later ? 0 : fault_answer(wsi, "done");
    case LWS_CALLBACK_TIMER:
        return fault_answer(wsi, "done");
    }
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

struct outcome {
    int answers;
    unsigned completions;
    double idle_cpu_s; /* in IDLE_MS after the client has gone */
};

static struct outcome try_both_posts(bool is_later)
{
    static const struct lws_protocols protocols[] = {{.name = "http", .callback = on_event}, {0}};
    struct outcome o = {0};
    char answers[4096];
    bool is_closed;
    int signal;
    is_answered_later = is_later;
    struct fault_server s = fault_server_start(protocols, NULL);
    int fd = fault_connect(&s);
    fault_send_text(fd, TWO_POSTS);
    fault_receive(fd, answers, sizeof answers, 3 * ANSWER_AFTER_MS, &is_closed);
    for (const char *at = answers; (at = strstr(at, "HTTP/1.1 200")) != NULL; at++)
        o.answers++;
    close(fd);
    fault_sleep_ms(IDLE_MS);
    o.idle_cpu_s = fault_server_cpu_s(&s);
    fault_sleep_ms(IDLE_MS);
    o.idle_cpu_s = fault_server_cpu_s(&s) - o.idle_cpu_s;
    fault_server_stop(&s, &signal);
    o.completions = fault_counts->completed;
    return o;
}

static bool is_faulty(struct outcome o)
{
    return o.answers != 2 || o.completions > COMPLETIONS_MAX || o.idle_cpu_s > IDLE_CPU_S;
}

int main(void)
{
    struct outcome once = try_both_posts(false), later = try_both_posts(true);
    return fault_verdict(
        is_faulty(once) || is_faulty(later),
        "answered at once: %d answers, %.2f s of CPU in the second after the client has gone; "
        "later: %d answers, the end of a body reported %u times, %.2f s",
        once.answers, once.idle_cpu_s, later.answers, later.completions, later.idle_cpu_s);
}
