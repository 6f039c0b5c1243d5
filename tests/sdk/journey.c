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
    unsigned refreshed, lost, unknown, failed, gone, broken;
    size_t lists, configs;
    bool is_registered;
    uint64_t last_seq, published_seq;
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

static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *error, void *arg)
{
    (void)r;
    struct journey *j = arg;
    pthread_mutex_lock(&j->mutex);
    j->is_registered = state == CAIRN_REGISTERED;
    j->broken += state == CAIRN_REGISTRATION_BROKEN;
    pthread_mutex_unlock(&j->mutex);
    if (state == CAIRN_REGISTRATION_REFUSED) {
        fprintf(stderr, "register: %s\n", error->message);
        fails(j, "the registration was refused");
    }
}

/* Once found, the instance must stay found, and up. */
static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    struct journey *j = arg;
    pthread_mutex_lock(&j->mutex);
    if (now->count && strcmp(now->list[0].state, "up") == 0)
        j->lists++;
    else if (j->lists)
        j->gone++;
    pthread_mutex_unlock(&j->mutex);
}

static void on_config(struct cairn_config_watch *w, const struct cairn_config *config, void *arg)
{
    struct journey *j = arg;
    pthread_mutex_lock(&j->mutex);
    bool is_older = config->seq < j->last_seq;
    j->last_seq = config->seq;
    j->configs++;
    pthread_mutex_unlock(&j->mutex);
    if (is_older)
        fails(j, "an older configuration came behind a newer one");
    cairn_config_applied(w, config->seq, NULL);
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
    if (j->gone)
        fails(j, "the discovery told a list without the instance");
}

/* Waits until the condition holds; false after LIMIT_S. */
static bool holds(struct journey *j, bool (*what)(const struct journey *j))
{
    for (int i = 0; i < LIMIT_S * 100; i++, pause_ms(10)) {
        pthread_mutex_lock(&j->mutex);
        bool is_true = what(j);
        pthread_mutex_unlock(&j->mutex);
        if (is_true)
            return true;
    }
    return false;
}

static bool has_list(const struct journey *j)
{
    return j->lists > 0 && j->is_registered;
}

static bool is_registered(const struct journey *j)
{
    return j->is_registered;
}

static bool has_config(const struct journey *j)
{
    return j->last_seq == j->published_seq;
}

/* Publishes another content each time; after an unknown outcome it reads the state. */
static void publish(struct journey *j, unsigned n)
{
    char text[32];
    snprintf(text, sizeof text, "step: %u", n);
    struct cairn_config_publish_request q = {.name = "journey.yaml", .content = cairn_text(text)};
    struct cairn_config_get_request get = {.name = "journey.yaml"};
    struct cairn_error error;
    struct cairn_config *now;
    if (cairn_config_publish(j->client, &q, NULL, &error) != CAIRN_OK)
        fprintf(stderr, "publish: %s (%s)\n", error.message, cairn_error_name(error.code));
    if (cairn_config_get(j->client, &get, &now, &error) != CAIRN_OK) {
        fprintf(stderr, "get: %s (%s)\n", error.message, cairn_error_name(error.code));
        fails(j, "the configuration cannot be read");
        return;
    }
    pthread_mutex_lock(&j->mutex);
    j->published_seq = now->seq;
    pthread_mutex_unlock(&j->mutex);
    cairn_result_free(now);
    if (!holds(j, has_config))
        fails(j, "the last configuration was never told");
}

/* True: the watch has reported the last acknowledged write. */
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
    unsigned n = 0;
    publish(j, n++);
    if (!holds(j, has_list)) {
        fails(j, "the instance was never found");
        return;
    }
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
        publish(j, n++);
        if (!holds(j, is_registered))
            fails(j, "the instance is not registered any more");
        puts("writes");
        fflush(stdout);
    }
}

static int go(struct journey *j, struct cairn_error *error)
{
    struct cairn_watch_request watch = {.key = cairn_text("journey/"), .prefix = true, .start_revision = 1};
    struct cairn_lease_grant_request grant = {.ttl_seconds = 15};
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
    struct cairn_register_request self = {
        .service = "journeys", .id = "j1", .host = "127.0.0.1", .port = 1, .ttl_seconds = 15};
    struct cairn_discover_request find = {.service = "journeys"};
    struct cairn_registration *r;
    struct cairn_discovery *d;
    struct cairn_config_watch *g;
    if (!err)
        err = cairn_register_start(j->client, &self, on_registration, j, &r, error);
    if (!err)
        err = cairn_discover_start(j->client, &find, on_instances, j, &d, error);
    if (!err)
        err = cairn_config_subscribe(j->client, NULL, NULL, "journey.yaml", on_config, j, &g, error);
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
    cairn_discover_stop(d);
    cairn_config_unsubscribe(g);
    if (cairn_register_stop(r) != CAIRN_OK)
        fails(j, "the instance could not be deregistered");
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
    printf("acknowledged %zu, told %zu, unknown %u, failed %u, refreshed %u, lost %u; connections broken %u, "
           "lists %zu, configurations "
           "%zu\n",
           j.acknowledged_count, j.told_count, j.unknown, j.failed, j.refreshed, j.lost, j.broken, j.lists,
           j.configs);
    if (j.wrong)
        printf("wrong: %s\n", j.wrong);
    free(j.acknowledged);
    free(j.told);
    return j.wrong != NULL;
}
