/* SPDX-License-Identifier: Apache-2.0
 * Measurement of a failover: failover PID LEADER ENDPOINT... It kills the leader's process (LEADER is the
 * index of its endpoint) with SIGKILL. It measures, in milliseconds after that, when the first Put that
 * succeeds is called and when it is answered. Each of the other members gets a Put every two milliseconds,
 * without waiting for answers: so the result is the cluster's, and no client's time limit affects it.
 *
 *   last_before=MS called=MS answered=MS
 *
 * Exit 0, or 1 when nothing is answered within 20 seconds. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "proto/rpc.pb-c.h"
#include "tests/chaos/client.h"

enum { ENDPOINTS_MAX = 16, PUT_EVERY_MS = 2, BEFORE_MS = 500, MS_MAX = 20000, CALLS_MAX = 1 << 16 };

struct put {
    struct call call;
    int64_t called_ns;
};

static struct connection connections[ENDPOINTS_MAX];
static struct put *all_puts;
static size_t put_count, connection_count;
static int64_t killed_ns, last_before_ns, first_called_ns, first_answered_ns;

static void on_end(struct call *call, int status, const char *text)
{
    struct put *p = call->arg;
    (void)text;
    if (status != STATUS_OK || first_answered_ns)
        return;
    if (!killed_ns) {
        last_before_ns = client_now_ns();
    } else if (p->called_ns > killed_ns) {
        first_called_ns = p->called_ns;
        first_answered_ns = client_now_ns();
    }
}

static void put(struct connection *c)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    char value[24];
    if (put_count == CALLS_MAX)
        return;
    struct put *p = &all_puts[put_count++];
    m.key = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t) "failover"};
    m.value =
        (ProtobufCBinaryData){(size_t)snprintf(value, sizeof value, "%zu", put_count), (uint8_t *)value};
    p->called_ns = client_now_ns();
    p->call.arg = p;
    p->call.on_end = on_end;
    call_start(c, &p->call, "/etcdserverpb.KV/Put", &m.base, true, false);
}

static void run_until(int64_t until_ns)
{
    uint64_t next_ms = 0;
    while (client_now_ns() < until_ns && !first_answered_ns) {
        client_wait(1);
        if (client_now_ms() < next_ms)
            continue;
        next_ms = client_now_ms() + PUT_EVERY_MS;
        for (size_t i = 0; i < connection_count; i++)
            if (connections[i].state == CONNECTION_UP)
                put(&connections[i]);
    }
}

int main(int argc, char **argv)
{
    int leader = argc > 4 ? atoi(argv[2]) : -1;
    pid_t pid = argc > 4 ? atoi(argv[1]) : 0;
    if (pid <= 1 || argc - 3 > ENDPOINTS_MAX) {
        fprintf(stderr, "usage: failover PID LEADER IP:PORT IP:PORT...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    hash_seed(random_u64());
    client_init();
    all_puts = calloc(CALLS_MAX, sizeof *all_puts);
    for (int i = 3; i < argc; i++) {
        struct endpoint endpoint;
        if (!endpoint_parse(argv[i], &endpoint))
            return 2;
        if (i - 3 != leader)
            connection_open(&connections[connection_count++], &endpoint);
    }
    run_until(client_now_ns() + BEFORE_MS * 1000000LL);
    int64_t now_ns = client_now_ns();
    kill(pid, SIGKILL);
    killed_ns = now_ns;
    run_until(killed_ns + MS_MAX * 1000000LL);
    if (!first_answered_ns || !last_before_ns)
        return 1;
    printf("last_before=%lld called=%lld answered=%lld\n", (long long)(killed_ns - last_before_ns) / 1000000,
           (long long)(first_called_ns - killed_ns) / 1000000,
           (long long)(first_answered_ns - killed_ns) / 1000000);
    return 0;
}
