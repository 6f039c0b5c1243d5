/* SPDX-License-Identifier: Apache-2.0
 * Locks and elections of libcairn:
 *
 *     locks ENDPOINTS rules                  deadlines, cancels, losses, elections, in one process
 *     locks ENDPOINTS contend NAME FILE N    takes the lock N times; FILE is locked meanwhile, which the kernel
 *                                            refuses if another process has it
 *     locks ENDPOINTS hold NAME              takes the lock, prints "held REVISION", and "lost ERROR" when it
 *                                            ends; a line on its standard input releases it
 *
 * The first failure is printed with its line and ends the program with 1. */
#include <cairn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 60 };

static struct cairn_error error;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            printf("locks.c:%d: %s\n    last error: %s %s\n", __LINE__, #what, cairn_error_name(error.code), \
                   error.message);                                                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

struct seen {
    unsigned held, ended;
    int code;      /* of the end */
    bool releases; /* in the callback of HELD */
};

static void on_lock(struct cairn_lock *lock, enum cairn_lock_state state, const struct cairn_error *e,
                    void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&mutex);
    if (state == CAIRN_LOCK_HELD) {
        s->held++;
    } else {
        s->ended++;
        s->code = e->code;
    }
    pthread_cond_broadcast(&changed);
    bool is_release = s->releases && state == CAIRN_LOCK_HELD;
    pthread_mutex_unlock(&mutex);
    if (is_release)
        cairn_lock_release(lock, NULL);
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

static struct cairn_client *open_client(const char *endpoints)
{
    struct cairn_client *c;
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = endpoints,
                                    .command_timeout_ms = LIMIT_S * 1000,
                                    .dial_timeout_ms = LIMIT_S * 1000,
                                    .keepalive_interval_ms = 500,
                                    .keepalive_timeout_ms = 500};
    MUST(cairn_open(&options, &c, &error) == CAIRN_OK);
    return c;
}

static int64_t revision_of(struct cairn_lock *lock)
{
    struct cairn_lock_info now;
    MUST(cairn_lock_now(lock, &now) == CAIRN_OK && now.is_held);
    return now.revision;
}

static void invalid_requests(struct cairn_client *c)
{
    struct cairn_lock *l;
    char name[1025];
    memset(name, 'n', sizeof name);
    struct cairn_lock_request none = {.ttl_seconds = 1}, late = {.name = cairn_text("n"), .ttl_seconds = -1},
                              big = {.name = {name, sizeof name}};
    MUST(cairn_lock_acquire(c, &none, NULL, NULL, &l, &error) == CAIRN_INVALID);
    MUST(cairn_lock_start(c, &late, on_lock, NULL, &l, &error) == CAIRN_INVALID);
    MUST(cairn_lock_start(c, &big, on_lock, NULL, &l, &error) == CAIRN_INVALID);
    big.name.size--;
    MUST(cairn_lock_acquire(c, &big, NULL, NULL, &l, &error) == CAIRN_OK);
    MUST(cairn_lock_release(l, &error) == CAIRN_OK && cairn_lock_release(NULL, NULL) == CAIRN_OK);
}

/* One holder, and waiters that give up for each reason. */
static void waits_that_end(struct cairn_client *c, struct cairn_client *c2)
{
    struct cairn_lock_request q = {.name = cairn_text("rules/a"), .ttl_seconds = 60};
    struct cairn_lock_request now = q, brief = q, canceled = q;
    struct cairn_lock *held, *l;
    struct cairn_cancel *x;
    struct seen s = {0};
    now.no_wait = true;
    brief.timeout_ms = 100;
    MUST(cairn_lock_acquire(c, &q, NULL, NULL, &held, &error) == CAIRN_OK);
    MUST(cairn_lock_acquire(c2, &now, NULL, NULL, &l, &error) == CAIRN_CONFLICT && !l);
    MUST(cairn_lock_acquire(c2, &brief, NULL, NULL, &l, &error) == CAIRN_TIMEOUT);
    MUST(cairn_cancel_new(c2, &x) == CAIRN_OK);
    canceled.cancel = x;
    MUST(cairn_lock_acquire(c, &canceled, NULL, NULL, &l, &error) == CAIRN_INVALID); /* another client's */
    MUST(cairn_lock_start(c2, &canceled, on_lock, &s, &l, &error) == CAIRN_OK);
    cairn_cancel_now(x);
    MUST(reaches(&s.ended, 1) && s.code == CAIRN_CANCELED && !s.held);
    MUST(cairn_lock_release(l, &error) == CAIRN_OK);
    MUST(cairn_lock_acquire(c2, &canceled, NULL, NULL, &l, &error) == CAIRN_CANCELED);
    cairn_cancel_free(x);
    /* All of them have left the queue: the next one gets the lock, although their leases would live on. */
    struct seen next = {0};
    MUST(cairn_lock_start(c2, &q, on_lock, &next, &l, &error) == CAIRN_OK);
    MUST(cairn_lock_release(held, &error) == CAIRN_OK && reaches(&next.held, 1));
    MUST(cairn_lock_release(l, &error) == CAIRN_OK && !next.ended);
}

static void remove_key(struct cairn_client *c, struct cairn_lock *l)
{
    struct cairn_lock_info now;
    MUST(cairn_lock_now(l, &now) == CAIRN_OK);
    struct cairn_delete_request drop = {.key = {now.key, now.key_size}};
    struct cairn_delete_result *r;
    MUST(cairn_delete(c, &drop, &r, &error) == CAIRN_OK && r->deleted == 1);
    cairn_result_free(r);
}

static void losses(struct cairn_client *c)
{
    struct cairn_lock_request q = {.name = cairn_text("rules/b"), .ttl_seconds = 60};
    struct cairn_lock_info now;
    struct cairn_lock *l;
    struct seen s = {0};
    MUST(cairn_lock_acquire(c, &q, on_lock, &s, &l, &error) == CAIRN_OK);
    remove_key(c, l);
    MUST(reaches(&s.ended, 1) && s.code == CAIRN_LOST && !s.held);
    MUST(cairn_lock_now(l, &now) == CAIRN_OK && !now.is_held);
    MUST(cairn_lock_set_value(l, cairn_text("x"), &error) == CAIRN_LOST);
    MUST(cairn_lock_release(l, &error) == CAIRN_OK);
    struct seen t = {0};
    MUST(cairn_lock_acquire(c, &q, on_lock, &t, &l, &error) == CAIRN_OK);
    MUST(cairn_lock_now(l, &now) == CAIRN_OK);
    struct cairn_lease_revoke_request revoke = {now.lease};
    MUST(cairn_lease_revoke(c, &revoke, NULL, &error) == CAIRN_OK);
    MUST(reaches(&t.ended, 1) && t.code == CAIRN_LOST);
    MUST(cairn_lock_release(l, &error) == CAIRN_OK);
    /* Released in its own callback, and left to the closing of its client. */
    struct seen u = {.releases = true}, v = {0};
    MUST(cairn_lock_start(c, &q, on_lock, &u, &l, &error) == CAIRN_OK && reaches(&u.held, 1));
    MUST(cairn_lock_start(c, &q, on_lock, &v, &l, &error) == CAIRN_OK && reaches(&v.held, 1));
}

struct leader {
    unsigned changes, refused;
    bool is_elected;
    char value[32];
    int64_t revision;
};

static void on_leader(struct cairn_leader_watch *w, const struct cairn_leader *now,
                      const struct cairn_error *e, void *arg)
{
    struct leader *l = arg;
    (void)w;
    pthread_mutex_lock(&mutex);
    l->changes++;
    l->refused += e != NULL;
    l->is_elected = now->is_elected;
    l->revision = now->revision;
    snprintf(l->value, sizeof l->value, "%.*s", (int)now->value.size, (const char *)now->value.data);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static bool leads(struct leader *l, const char *value) /* NULL: nobody */
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LIMIT_S;
    pthread_mutex_lock(&mutex);
    bool is_so;
    do
        is_so = l->changes && l->is_elected == (value != NULL) && (!value || strcmp(l->value, value) == 0);
    while (!is_so && pthread_cond_timedwait(&changed, &mutex, &end) == 0);
    pthread_mutex_unlock(&mutex);
    return is_so;
}

static void elections(struct cairn_client *c, struct cairn_client *c2)
{
    struct cairn_lock_request q = {
        .name = cairn_text("rules/e"), .value = cairn_text("first"), .ttl_seconds = 60};
    struct cairn_lock_request q2 = q;
    struct cairn_leader_watch *w;
    struct cairn_lock *first, *second;
    struct leader l = {0};
    struct seen s = {0};
    q2.value = cairn_text("second");
    MUST(cairn_leader_start(c2, (struct cairn_bytes){"", 0}, on_leader, &l, &w, &error) == CAIRN_INVALID);
    MUST(cairn_leader_start(c2, q.name, on_leader, &l, &w, &error) == CAIRN_OK && leads(&l, NULL));
    MUST(cairn_lock_acquire(c, &q, NULL, NULL, &first, &error) == CAIRN_OK && leads(&l, "first"));
    int64_t revision = revision_of(first);
    MUST(l.revision == revision);
    MUST(cairn_lock_start(c2, &q2, on_lock, &s, &second, &error) == CAIRN_OK);
    MUST(cairn_lock_set_value(first, cairn_text("again"), &error) == CAIRN_OK && leads(&l, "again"));
    MUST(!s.held && l.revision == revision);
    MUST(cairn_lock_release(first, &error) == CAIRN_OK && leads(&l, "second") && reaches(&s.held, 1));
    MUST(revision_of(second) > revision);
    MUST(cairn_lock_release(second, &error) == CAIRN_OK && leads(&l, NULL) && !l.refused);
    cairn_leader_stop(w);
}

static void rules(const char *endpoints)
{
    struct cairn_client *c = open_client(endpoints), *c2 = open_client(endpoints);
    invalid_requests(c);
    waits_that_end(c, c2);
    losses(c);
    elections(c, c2);
    MUST(cairn_close(c) == CAIRN_OK && cairn_close(c2) == CAIRN_OK);
}

static void contend(const char *endpoints, const char *name, const char *path, int count)
{
    struct cairn_client *c = open_client(endpoints);
    struct cairn_lock_request q = {.name = cairn_text(name), .ttl_seconds = 60};
    int64_t last = 0;
    for (int i = 0; i < count; i++) {
        struct cairn_lock *l;
        MUST(cairn_lock_acquire(c, &q, NULL, NULL, &l, &error) == CAIRN_OK);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        MUST(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0); /* else two have it */
        MUST(revision_of(l) > last);
        last = revision_of(l);
        printf("held %lld\n", (long long)last);
        close(fd);
        MUST(cairn_lock_release(l, &error) == CAIRN_OK);
    }
    MUST(cairn_close(c) == CAIRN_OK);
}

static void on_end(struct cairn_lock *lock, enum cairn_lock_state state, const struct cairn_error *e,
                   void *arg)
{
    (void)lock;
    (void)state;
    (void)arg;
    printf("lost %s\n", cairn_error_name(e->code));
    fflush(stdout);
}

static void hold(const char *endpoints, const char *name)
{
    struct cairn_client *c = open_client(endpoints);
    struct cairn_lock_request q = {.name = cairn_text(name), .ttl_seconds = 2};
    struct cairn_lock *l;
    char line[100];
    MUST(cairn_lock_acquire(c, &q, on_end, NULL, &l, &error) == CAIRN_OK);
    printf("held %lld\n", (long long)revision_of(l));
    fflush(stdout);
    if (fgets(line, sizeof line, stdin)) {
        MUST(cairn_lock_release(l, &error) == CAIRN_OK);
        puts("released");
    }
    cairn_close(c);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[2], "rules") == 0)
        rules(argv[1]);
    else if (argc == 6 && strcmp(argv[2], "contend") == 0)
        contend(argv[1], argv[3], argv[4], atoi(argv[5]));
    else if (argc == 4 && strcmp(argv[2], "hold") == 0)
        hold(argv[1], argv[3]);
    else
        return 2;
    return 0;
}
