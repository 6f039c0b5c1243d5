/* SPDX-License-Identifier: Apache-2.0
 * A program on libcairn while members die: journey ENDPOINTS. It writes one key after the other, watches
 * them, keeps a lease alive, and says "ready"; each line on its standard input is answered by "writes" when
 * twenty more writes have been acknowledged since it came, the end of input by a judgement: every
 * acknowledged write was told by the watch exactly once, in order, and nothing was told twice; the lease was
 * never lost. Exit 0 if all of that holds. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REVISIONS_MAX = 1 << 20, LIMIT_S = 60 };

struct journey {
    struct cairn_client *client;
    pthread_mutex_t mutex;
    int64_t *acknowledged, *told; /* revisions, as they came */
    size_t acknowledged_count, told_count;
    unsigned refreshed, lost, unknown, failed;
    bool is_over;
    const char *wrong;
};

static void fails(struct journey *j, const char *what)
{
    pthread_mutex_lock(&j->mutex);
    if (!j->wrong)
        j->wrong = what;
    pthread_mutex_unlock(&j->mutex);
}

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    (void)w;
    struct journey *j = arg;
    if (u->kind != CAIRN_WATCH_EVENTS) {
        fails(j, "the watch told something else than events");
        return;
    }
    pthread_mutex_lock(&j->mutex);
    for (size_t i = 0; i < u->event_count && j->told_count < REVISIONS_MAX; i++)
        j->told[j->told_count++] = u->events[i].kv.mod_revision;
    pthread_mutex_unlock(&j->mutex);
}

static void on_lease(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *error,
                     void *arg)
{
    (void)k;
    struct journey *j = arg;
    pthread_mutex_lock(&j->mutex);
    if (ttl_seconds > 0)
        j->refreshed++;
    else {
        j->lost++;
        fprintf(stderr, "lease: %s\n", error->message);
    }
    pthread_mutex_unlock(&j->mutex);
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void *write_keys(void *arg)
{
    struct journey *j = arg;
    for (unsigned n = 0;; n++) {
        char key[32], value[16];
        snprintf(key, sizeof key, "journey/%u", n % 64);
        snprintf(value, sizeof value, "%u", n);
        struct cairn_put_request put = {.key = cairn_text(key), .value = cairn_text(value)};
        struct cairn_put_result *result;
        struct cairn_error error;
        int err = cairn_put(j->client, &put, &result, &error);
        pthread_mutex_lock(&j->mutex);
        bool is_over = j->is_over || j->acknowledged_count == REVISIONS_MAX;
        if (!err) {
            j->acknowledged[j->acknowledged_count++] = result->header.revision;
            cairn_result_free(result);
        } else if (err == CAIRN_UNKNOWN)
            j->unknown++;
        else
            j->failed++;
        pthread_mutex_unlock(&j->mutex);
        if (err)
            fprintf(stderr, "put: %s (%s)\n", error.message, cairn_error_name(err));
        if (is_over)
            return NULL;
        pause_ms(2);
    }
}

/* More than `count` of them; false when that takes too long. */
static bool comes(struct journey *j, const size_t *counter, size_t count)
{
    for (int i = 0; i < LIMIT_S * 100; i++, pause_ms(10)) {
        pthread_mutex_lock(&j->mutex);
        bool is_there = *counter > count;
        pthread_mutex_unlock(&j->mutex);
        if (is_there)
            return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool was_told(const struct journey *j, int64_t revision)
{
    return bsearch(&revision, j->told, j->told_count, sizeof revision, compare) != NULL;
}

static void judge(struct journey *j)
{
    for (size_t i = 1; i < j->told_count; i++)
        if (j->told[i] <= j->told[i - 1])
            fails(j, "the watch told a revision twice, or an older one behind a newer");
    for (size_t i = 0; i < j->acknowledged_count && !j->wrong; i++)
        if (!was_told(j, j->acknowledged[i]))
            fails(j, "the watch left out an acknowledged write");
    if (j->lost)
        fails(j, "the lease was lost");
    if (!j->refreshed)
        fails(j, "the lease was never refreshed");
}

/* The last acknowledged one has been told. */
static bool is_told(struct journey *j)
{
    for (int i = 0; i < LIMIT_S * 100; i++, pause_ms(10)) {
        pthread_mutex_lock(&j->mutex);
        bool is_there =
            j->told_count && j->told[j->told_count - 1] >= j->acknowledged[j->acknowledged_count - 1];
        pthread_mutex_unlock(&j->mutex);
        if (is_there)
            return true;
    }
    return false;
}

static void travel(struct journey *j)
{
    char line[64];
    if (!comes(j, &j->acknowledged_count, 20)) {
        fails(j, "no write was acknowledged at first");
        return;
    }
    puts("ready");
    fflush(stdout);
    while (!j->wrong && fgets(line, sizeof line, stdin)) {
        pthread_mutex_lock(&j->mutex);
        size_t count = j->acknowledged_count;
        pthread_mutex_unlock(&j->mutex);
        if (!comes(j, &j->acknowledged_count, count + 20))
            fails(j, "no write is acknowledged any more");
        puts("writes");
        fflush(stdout);
    }
}

static int go(struct journey *j, struct cairn_error *error)
{
    struct cairn_watch_request watch = {.key = cairn_text("journey/"), .prefix = true, .start_revision = 1};
    struct cairn_lease_grant_request grant = {.ttl_seconds = 10};
    struct cairn_lease_grant_result *lease;
    struct cairn_watch *w;
    struct cairn_keepalive *k;
    pthread_t writer;
    int err = cairn_lease_grant(j->client, &grant, &lease, error);
    if (err)
        return err;
    err = cairn_watch_start(j->client, &watch, on_update, j, &w, error);
    if (!err)
        err = cairn_keepalive_start(j->client, lease->id, on_lease, j, &k, error);
    cairn_result_free(lease);
    if (err)
        return err;
    pthread_create(&writer, NULL, write_keys, j);
    travel(j);
    pthread_mutex_lock(&j->mutex);
    j->is_over = true;
    pthread_mutex_unlock(&j->mutex);
    pthread_join(writer, NULL);
    if (!j->wrong && !is_told(j))
        fails(j, "the last acknowledged write was never told");
    cairn_watch_stop(w);
    cairn_keepalive_stop(k);
    judge(j);
    return CAIRN_OK;
}

int main(int argc, char **argv)
{
    struct cairn_options options = {.size = sizeof options,
                                    .endpoints = argc > 1 ? argv[1] : NULL,
                                    .dial_timeout_ms = 20000,
                                    .command_timeout_ms = 20000};
    struct journey j = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct cairn_error error;
    if (cairn_open(&options, &j.client, &error) != CAIRN_OK) {
        fprintf(stderr, "open: %s\n", error.message);
        return 1;
    }
    j.acknowledged = calloc(REVISIONS_MAX, sizeof *j.acknowledged);
    j.told = calloc(REVISIONS_MAX, sizeof *j.told);
    if (go(&j, &error) != CAIRN_OK) {
        fprintf(stderr, "start: %s\n", error.message);
        j.wrong = "could not start";
    }
    cairn_close(j.client);
    printf("acknowledged %zu, told %zu, unknown %u, failed %u, refreshed %u, lost %u\n", j.acknowledged_count,
           j.told_count, j.unknown, j.failed, j.refreshed, j.lost);
    if (j.wrong)
        printf("wrong: %s\n", j.wrong);
    free(j.acknowledged);
    free(j.told);
    return j.wrong != NULL;
}
