/* SPDX-License-Identifier: Apache-2.0
 * Cost of a message between members: two transports in one loop over loopback send messages of 300 bytes, a
 * given number in a turn. A turn waits until the other side has all messages of the turn before. One line
 * for each size of a turn: messages a second, CPU of both sides together for one message.
 *
 *   peer_load PORT [SECONDS] [tls] */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "consensus/peer/peer_tcp.h"

enum { SIZE = 300, CLUSTER = 1 };

static uv_loop_t loop;
static uint64_t received;
static unsigned streams;

static void on_message(void *arg, uint64_t from, enum peer_stream stream, struct slice message)
{
    (void)arg;
    (void)from;
    (void)stream;
    received += message.size == SIZE;
}

static void on_reachable(void *arg, uint64_t id, enum peer_stream stream)
{
    (void)arg;
    (void)id;
    (void)stream;
    streams++;
}

static const struct peer_events events = {.on_message = on_message, .on_reachable = on_reachable};

static struct peers *open_node(struct io *io, uint64_t id, const char *url, const char *auto_dir)
{
    char error[300];
    struct peers *p;
    struct peer_tcp_options o = {
        .io = io, .loop = &loop, .listen_urls = &url, .listen_url_count = 1, .tls.auto_dir = auto_dir};
    if (peer_tcp_new(&o, error, sizeof error, &p) != OK) {
        fprintf(stderr, "peer_load: %s\n", error);
        exit(1);
    }
    p->ops->set_events(p, &events, NULL);
    p->ops->set_identity(p, CLUSTER, id);
    return p;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure(struct peers *a, unsigned per_turn, double seconds)
{
    uint8_t bytes[SIZE] = {1};
    uint64_t sent = 0, start = uv_hrtime();
    double cpu = cpu_seconds();
    received = 0;
    while ((double)(uv_hrtime() - start) < seconds * 1e9) {
        for (unsigned i = 0; i < per_turn; i++)
            sent += a->ops->send(a, 2, PEER_STREAM_LOG, slice_of(bytes, SIZE), (struct slice){0});
        a->ops->flush(a);
        while (received < sent)
            uv_run(&loop, UV_RUN_ONCE);
    }
    double took = (double)(uv_hrtime() - start) / 1e9;
    printf("%5u in a turn: %9.0f messages/s, %6.3f us CPU each\n", per_turn, (double)sent / took,
           (cpu_seconds() - cpu) * 1e6 / (double)sent);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: peer_load PORT [SECONDS] [tls]\n");
        return 2;
    }
    char urls[2][64];
    bool is_tls = argc > 3;
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    log_set_level(LOG_ERROR);
    uv_loop_init(&loop);
    struct io *io = io_real_new(&loop, true);
    for (int i = 0; i < 2; i++)
        snprintf(urls[i], sizeof urls[i], "http%s://127.0.0.1:%d", is_tls ? "s" : "", atoi(argv[1]) + i);
    struct peers *a = open_node(io, 1, urls[0], is_tls ? "/tmp/peer_load_1" : NULL);
    struct peers *b = open_node(io, 2, urls[1], is_tls ? "/tmp/peer_load_2" : NULL);
    const char *to_a = urls[0], *to_b = urls[1];
    a->ops->set_member(a, 2, &to_b, 1);
    b->ops->set_member(b, 1, &to_a, 1);
    while (streams < 2 * PEER_STREAM_COUNT)
        uv_run(&loop, UV_RUN_ONCE);
    static const unsigned turns[] = {1, 10, 100, 1000};
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
        measure(a, turns[i], seconds);
    peer_tcp_close(a, NULL, NULL);
    peer_tcp_close(b, NULL, NULL);
    io_real_free(io);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
