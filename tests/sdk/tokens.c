/* SPDX-License-Identifier: Apache-2.0
 * A program on libcairn whose tokens end: tokens ENDPOINT USER PASSWORD CASE, against a server whose tokens live
 * one second (CASE simple or late) or two (CASE jwt). It talks to the script that runs it: it prints a word, and
 * waits for a line on its standard input.
 *
 *     simple   each kind of use renews a token that the server has forgotten: calls, HTTP, watches, leases. Then
 *              `restart`: the script restarts the server; the stream logs in again. Then `change`: the script
 *              changes the password to "changed", and the client gets it.
 *     late     `enable`: the script enables authentication while the client is connected.
 *     jwt      the token is renewed before its end: none is refused.
 *
 * The first failure is printed with its line and ends the program with 1. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_S = 60, PAUSE_MS = 1300 /* longer than a token lives that is not used */ };

static struct cairn_error error;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned logins, renewals, refusals, registered, broken, refreshed, lost, events, ended, refused_login,
    views;

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            printf("tokens.c:%d: %s\n    last error: %s %s\n", __LINE__, #what,                              \
                   cairn_error_name(error.code), error.message);                                             \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static void count(unsigned *what)
{
    pthread_mutex_lock(&mutex);
    ++*what;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static unsigned value_of(const unsigned *what)
{
    pthread_mutex_lock(&mutex);
    unsigned n = *what;
    pthread_mutex_unlock(&mutex);
    return n;
}

static bool reaches(const unsigned *what, unsigned n)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LIMIT_S;
    pthread_mutex_lock(&mutex);
    while (*what < n && pthread_cond_timedwait(&changed, &mutex, &end) == 0)
        continue;
    bool is_reached = *what >= n;
    pthread_mutex_unlock(&mutex);
    return is_reached;
}

static void on_log(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg)
{
    (void)c;
    (void)level;
    (void)arg;
    fprintf(stderr, "%s\n", line);
    if (strstr(line, "logged in"))
        count(&logins);
    if (strstr(line, "renewed"))
        count(&renewals);
    if (strstr(line, "token was refused"))
        count(&refusals);
}

static void on_state(struct cairn_client *c, const struct cairn_state_change *change, void *arg)
{
    (void)c;
    (void)arg;
    if (change->state == CAIRN_STATE_UNAUTHENTICATED &&
        strstr(change->reason.message, "authentication failed"))
        count(&refused_login);
}

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    (void)w;
    (void)arg;
    count(u->kind == CAIRN_WATCH_ENDED ? &ended : &events);
}

static void on_lease(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *e, void *arg)
{
    (void)k;
    (void)arg;
    if (ttl_seconds <= 0)
        fprintf(stderr, "lease: %s\n", e->message);
    count(ttl_seconds > 0 ? &refreshed : &lost);
}

static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *e, void *arg)
{
    (void)r;
    (void)arg;
    if (state == CAIRN_REGISTRATION_REFUSED)
        fprintf(stderr, "registration: %s\n", e->message);
    MUST(state != CAIRN_REGISTRATION_REFUSED);
    count(state == CAIRN_REGISTERED ? &registered : &broken);
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    (void)arg;
    if (now->is_current && now->count)
        count(&views);
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void ask(const char *word) /* the script does it, and then sends a line */
{
    char line[100];
    puts(word);
    fflush(stdout);
    MUST(fgets(line, sizeof line, stdin));
}

static void use_call(struct cairn_client *c)
{
    struct cairn_put_request put = {.key = cairn_text("tokens/a"), .value = cairn_text("1")};
    MUST(cairn_put(c, &put, NULL, &error) == CAIRN_OK);
}

static void use_http(struct cairn_client *c)
{
    struct cairn_http_request get = {.method = "GET", .path = "/api/v1/services"};
    MUST(cairn_http(c, &get, NULL, &error) == CAIRN_OK);
}

static void use_watch(struct cairn_client *c)
{
    struct cairn_watch_request q = {.key = cairn_text("tokens/a"), .start_revision = 1};
    struct cairn_watch *w;
    unsigned before = value_of(&events);
    MUST(cairn_watch_start(c, &q, on_update, NULL, &w, &error) == CAIRN_OK);
    MUST(reaches(&events, before + 1) && !value_of(&ended));
    cairn_watch_stop(w);
}

static int64_t lease;

static void use_lease(struct cairn_client *c)
{
    struct cairn_keepalive *k;
    unsigned before = value_of(&refreshed);
    MUST(cairn_keepalive_start(c, lease, on_lease, NULL, &k, &error) == CAIRN_OK);
    MUST(reaches(&refreshed, before + 1) && !value_of(&lost));
    cairn_keepalive_stop(k);
}

/* The server checks no token for a lease's refresh; any other use must renew it. */
static void simple(struct cairn_client *c)
{
    static void (*const uses[])(struct cairn_client * c) = {use_call, use_http, use_watch};
    struct cairn_lease_grant_request grant = {.ttl_seconds = 600};
    struct cairn_lease_grant_result *g;
    MUST(cairn_lease_grant(c, &grant, &g, &error) == CAIRN_OK);
    lease = g->id;
    cairn_result_free(g);
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        unsigned before = value_of(&renewals);
        for (unsigned tries = 0; value_of(&renewals) == before; tries++) {
            MUST(tries < 20);
            pause_ms(PAUSE_MS);
            uses[i](c);
            use_lease(c);
        }
    }
    MUST(value_of(&refusals));
    struct cairn_register_request self = {.service = "tokens", .id = "t1", .host = "10.0.0.1", .port = 1};
    struct cairn_discover_request service = {.service = "tokens"};
    struct cairn_watch_request q = {.key = cairn_text("tokens/"), .prefix = true};
    struct cairn_registration *r;
    struct cairn_discovery *d;
    struct cairn_watch *w;
    struct cairn_keepalive *k;
    MUST(cairn_register_start(c, &self, on_registration, NULL, &r, &error) == CAIRN_OK);
    MUST(cairn_discover_start(c, &service, on_instances, NULL, &d, &error) == CAIRN_OK);
    MUST(cairn_watch_start(c, &q, on_update, NULL, &w, &error) == CAIRN_OK);
    MUST(cairn_keepalive_start(c, lease, on_lease, NULL, &k, &error) == CAIRN_OK);
    MUST(reaches(&registered, 1) && reaches(&views, 1));
    pause_ms(PAUSE_MS); /* the stream's token ends; nothing happens to the stream */
    MUST(!value_of(&broken));
    ask("restart");
    unsigned seen = value_of(&events), views_seen = value_of(&views), leases_seen = value_of(&refreshed);
    MUST(reaches(&registered, 2) && reaches(&views, views_seen));
    use_call(c);
    MUST(reaches(&events, seen + 1) && reaches(&refreshed, leases_seen));
    MUST(!value_of(&ended) && !value_of(&lost) && !value_of(&refused_login));
    seen = value_of(&broken);
    ask("change");
    MUST(reaches(&broken, seen + 1) &&
         reaches(&refused_login, 1)); /* the running stream ended with its user */
    seen = value_of(&registered);
    MUST(cairn_set_credentials(c, "tester", "changed", &error) == CAIRN_OK);
    use_call(c);
    use_http(c);
    MUST(reaches(&registered, seen + 1));
    seen = value_of(&events);
    use_call(c);
    MUST(reaches(&events, seen + 1) && !value_of(&ended) && !value_of(&lost));
    cairn_discover_stop(d);
    cairn_watch_stop(w);
    cairn_keepalive_stop(k);
    MUST(cairn_register_stop(r) == CAIRN_OK);
}

static void late(struct cairn_client *c)
{
    struct cairn_register_request self = {.service = "late", .id = "t1", .host = "10.0.0.1", .port = 1};
    struct cairn_discover_request service = {.service = "late"};
    struct cairn_registration *r;
    struct cairn_discovery *d;
    MUST(cairn_register_start(c, &self, on_registration, NULL, &r, &error) == CAIRN_OK);
    MUST(cairn_discover_start(c, &service, on_instances, NULL, &d, &error) == CAIRN_OK);
    MUST(reaches(&registered, 1) && reaches(&views, 1));
    use_call(c);
    ask("enable");
    MUST(reaches(&registered, 2)); /* its session was anonymous */
    use_call(c);
    use_http(c);
    use_watch(c);
    MUST(value_of(&logins) == 1 && !value_of(&ended));
    unsigned seen = value_of(&views);
    struct cairn_register_request other = {.service = "late", .id = "t2", .host = "10.0.0.2", .port = 1};
    struct cairn_registration *r2;
    MUST(cairn_register_start(c, &other, on_registration, NULL, &r2, &error) == CAIRN_OK);
    MUST(reaches(&views, seen + 1)); /* the subscription goes on */
    cairn_register_stop(r2);
    cairn_register_stop(r);
    cairn_discover_stop(d);
}

static void jwt(struct cairn_client *c)
{
    for (unsigned tries = 0; value_of(&renewals) < 3; tries++) {
        MUST(tries < 1000);
        use_call(c);
        use_http(c);
        pause_ms(50);
    }
    MUST(!value_of(&refusals));
}

int main(int argc, char **argv)
{
    struct cairn_client *c;
    if (argc < 5)
        return 2;
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = argv[1],
                                    .user = argv[2],
                                    .password = argv[3],
                                    .command_timeout_ms = LIMIT_S * 1000,
                                    .dial_timeout_ms = LIMIT_S * 1000,
                                    .on_state = on_state,
                                    .on_log = on_log};
    MUST(cairn_open(&options, &c, &error) == CAIRN_OK);
    if (strcmp(argv[4], "simple") == 0)
        simple(c);
    else if (strcmp(argv[4], "late") == 0)
        late(c);
    else
        jwt(c);
    MUST(cairn_close(c) == CAIRN_OK);
    puts("done");
    return 0;
}
