/* SPDX-License-Identifier: Apache-2.0
 * A client without a thread, in a loop of poll: loop ENDPOINT [CA]. The first failure is printed with its line
 * and ends the program with 1. */
#include <cairn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_S = 60 };

static struct cairn_error error;

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            printf("loop.c:%d: %s\n    last error: %s %s\n", __LINE__, #what, cairn_error_name(error.code),  \
                   error.message);                                                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static struct {
    struct cairn_client *client;
    unsigned puts, events, refreshed, registered, views, configs, held, leaders, http, turns;
    int64_t lease;
    bool is_other_over;
} p;

static void on_put(struct cairn_put_result *r, const struct cairn_error *e, void *arg)
{
    (void)arg;
    error = *e;
    MUST(e->code == CAIRN_OK);
    MUST(cairn_process(p.client) == CAIRN_INVALID && cairn_close(p.client) == CAIRN_INVALID);
    cairn_result_free(r);
    p.puts++;
}

static void on_http(struct cairn_http_result *r, const struct cairn_error *e, void *arg)
{
    (void)arg;
    error = *e;
    MUST(e->code == CAIRN_OK && r->status == 200);
    cairn_result_free(r);
    p.http++;
}

static void on_granted(struct cairn_lease_grant_result *r, const struct cairn_error *e, void *arg)
{
    (void)arg;
    error = *e;
    MUST(e->code == CAIRN_OK);
    p.lease = r->id;
    cairn_result_free(r);
}

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    (void)w;
    (void)arg;
    MUST(u->kind == CAIRN_WATCH_EVENTS);
    p.events += (unsigned)u->event_count;
}

static void on_lease(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *e, void *arg)
{
    (void)k;
    (void)arg;
    error = *e;
    MUST(ttl_seconds > 0);
    p.refreshed++;
}

static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *e, void *arg)
{
    (void)r;
    (void)e;
    (void)arg;
    p.registered += state == CAIRN_REGISTERED;
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    (void)arg;
    p.views += now->count > 0;
}

static void on_config(struct cairn_config_watch *w, const struct cairn_config *config, void *arg)
{
    (void)arg;
    cairn_config_applied(w, config->seq, NULL);
    p.configs++;
}

static void on_lock(struct cairn_lock *l, enum cairn_lock_state state, const struct cairn_error *e, void *arg)
{
    (void)l;
    (void)arg;
    error = *e;
    MUST(state == CAIRN_LOCK_HELD);
    p.held++;
}

static void on_leader(struct cairn_leader_watch *w, const struct cairn_leader *now,
                      const struct cairn_error *e, void *arg)
{
    (void)w;
    (void)arg;
    MUST(!e);
    p.leaders += now->is_elected;
}

/* One turn of the program's loop. */
static void turn(void)
{
    struct pollfd fd = {cairn_fd(p.client), POLLIN, 0};
    int ms = cairn_timeout_ms(p.client);
    MUST(poll(&fd, 1, ms < 0 || ms > 1000 * LIMIT_S ? 1000 * LIMIT_S : ms) >= 0);
    MUST(cairn_process(p.client) == CAIRN_OK);
    p.turns++;
}

static bool reaches(const unsigned *what, unsigned n)
{
    time_t end = time(NULL) + LIMIT_S;
    while (*what < n && time(NULL) <= end)
        turn();
    return *what >= n;
}

/* Another thread may wait for a call, as long as the owner goes on. */
static void *wait_elsewhere(void *arg)
{
    struct cairn_put_request put = {.key = cairn_text("loop/b"), .value = cairn_text("2")};
    struct cairn_error e;
    (void)arg;
    MUST(cairn_process(p.client) == CAIRN_INVALID && cairn_close(p.client) == CAIRN_INVALID);
    MUST(cairn_put(p.client, &put, NULL, &e) == CAIRN_OK);
    __atomic_store_n(&p.is_other_over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void everything(void)
{
    struct cairn_client *c = p.client;
    struct cairn_put_request put = {.key = cairn_text("loop/a"), .value = cairn_text("1")};
    struct cairn_http_request get = {.method = "GET", .path = "/api/v1/services"};
    struct cairn_lease_grant_request grant = {.ttl_seconds = 60};
    struct cairn_watch_request watched = {.key = cairn_text("loop/"), .prefix = true};
    struct cairn_register_request self = {.service = "loop", .id = "l1", .host = "10.0.0.1", .port = 1};
    struct cairn_discover_request service = {.service = "loop"};
    struct cairn_lock_request wanted = {.name = cairn_text("loop-lock")};
    struct cairn_watch *w;
    struct cairn_keepalive *k;
    struct cairn_registration *r;
    struct cairn_discovery *d;
    struct cairn_config_watch *f;
    struct cairn_lock *l;
    struct cairn_leader_watch *e;
    MUST(cairn_put(c, &put, NULL, &error) == CAIRN_INVALID && strstr(error.message, "cairn_process"));
    MUST(cairn_put_async(c, &put, on_put, NULL) == CAIRN_OK);
    MUST(cairn_http_async(c, &get, NULL, on_http, NULL) == CAIRN_OK);
    MUST(cairn_lease_grant_async(c, &grant, on_granted, NULL) == CAIRN_OK);
    MUST(cairn_leader_start(c, wanted.name, on_leader, NULL, &e, &error) == CAIRN_OK);
    MUST(reaches(&p.puts, 1) && reaches(&p.http, 1));
    MUST(cairn_watch_start(c, &watched, on_update, NULL, &w, &error) == CAIRN_OK);
    while (!p.events) { /* a put may be before the watch */
        MUST(cairn_put_async(c, &put, on_put, NULL) == CAIRN_OK && reaches(&p.puts, p.puts + 1));
    }
    while (!p.lease)
        turn();
    MUST(cairn_keepalive_start(c, p.lease, on_lease, NULL, &k, &error) == CAIRN_OK &&
         reaches(&p.refreshed, 1));
    MUST(cairn_discover_start(c, &service, on_instances, NULL, &d, &error) == CAIRN_OK);
    MUST(cairn_config_subscribe(c, NULL, NULL, "loop.yaml", on_config, NULL, &f, &error) == CAIRN_OK);
    MUST(cairn_register_start(c, &self, on_registration, NULL, &r, &error) == CAIRN_OK);
    MUST(reaches(&p.registered, 1) && reaches(&p.views, 1) && reaches(&p.configs, 1));
    MUST(cairn_lock_start(c, &wanted, on_lock, NULL, &l, &error) == CAIRN_OK);
    MUST(reaches(&p.held, 1) && reaches(&p.leaders, 1));
    pthread_t other;
    MUST(pthread_create(&other, NULL, wait_elsewhere, NULL) == 0);
    while (!__atomic_load_n(&p.is_other_over, __ATOMIC_ACQUIRE))
        turn();
    pthread_join(other, NULL);
    /* Started and stopped in one go, before any turn. */
    struct cairn_lock *brief;
    struct cairn_watch *brief_watch;
    MUST(cairn_lock_start(c, &wanted, on_lock, NULL, &brief, &error) == CAIRN_OK);
    MUST(cairn_lock_release(brief, &error) == CAIRN_OK);
    MUST(cairn_watch_start(c, &watched, on_update, NULL, &brief_watch, &error) == CAIRN_OK);
    cairn_watch_stop(brief_watch);
    unsigned events = p.events;
    MUST(cairn_put_async(c, &put, on_put, NULL) == CAIRN_OK && reaches(&p.events, events + 1));
    MUST(cairn_lock_release(l, &error) == CAIRN_OK && cairn_register_stop(r) == CAIRN_OK);
    cairn_leader_stop(e);
    cairn_discover_stop(d);
    cairn_config_unsubscribe(f);
    cairn_keepalive_stop(k);
    cairn_watch_stop(w);
    while (cairn_timeout_ms(c) == 0)
        turn(); /* it comes to rest: a loop that is always due would never end here */
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = argc > 1 ? argv[1] : NULL,
                                    .ca_file = argc > 2 ? argv[2] : NULL,
                                    .command_timeout_ms = LIMIT_S * 1000,
                                    .dial_timeout_ms = LIMIT_S * 1000};
    struct cairn_client *threaded;
    sigset_t before, after;
    MUST(cairn_open(&options, &threaded, &error) == CAIRN_OK);
    MUST(cairn_fd(threaded) == -1 && cairn_process(threaded) == CAIRN_INVALID &&
         cairn_timeout_ms(threaded) == -1);
    MUST(cairn_close(threaded) == CAIRN_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    options.no_thread = true;
    MUST(cairn_open(&options, &p.client, &error) == CAIRN_OK && cairn_fd(p.client) >= 0);
    everything();
    MUST(cairn_close(p.client) == CAIRN_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    MUST(!sigismember(&before, SIGPIPE) && !sigismember(&after, SIGPIPE));
    return 0;
}
