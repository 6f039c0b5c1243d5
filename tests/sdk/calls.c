/* SPDX-License-Identifier: Apache-2.0
 * Test of every call of libcairn on one member: calls ENDPOINT [CA], as somebody: calls ENDPOINT - USER
 * PASSWORD; what a cache folder keeps: calls ENDPOINT DIR
 * leave, and with the server gone find. The first failure is printed with its line, and ends the program with
 * 1. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct cairn_error error;

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            printf("calls.c:%d: %s\n    last error: %s %s\n", __LINE__, #what, cairn_error_name(error.code), \
                   error.message);                                                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static bool is_text(struct cairn_bytes b, const char *text)
{
    return b.size == strlen(text) && memcmp(b.data, text, b.size) == 0;
}

static void put(struct cairn_client *c, const char *key, const char *value)
{
    struct cairn_put_request q = {.key = cairn_text(key), .value = cairn_text(value)};
    MUST(cairn_put(c, &q, NULL, &error) == CAIRN_OK);
}

static void keys_and_values(struct cairn_client *c)
{
    struct cairn_range_result *r;
    struct cairn_put_result *p;
    struct cairn_delete_result *d;
    put(c, "k/a", "1");
    put(c, "k/b", "2");
    put(c, "k/c", "");
    struct cairn_range_request prefix = {
        .key = cairn_text("k/"), .prefix = true, .order = CAIRN_DESCEND, .limit = 2};
    MUST(cairn_range(c, &prefix, &r, &error) == CAIRN_OK);
    MUST(r->kv_count == 2 && r->count == 3 && r->more && is_text(r->kvs[0].key, "k/c") &&
         r->kvs[0].value.size == 0 && is_text(r->kvs[1].value, "2") && r->header.member_id);
    cairn_result_free(r);
    struct cairn_range_request from = {.key = cairn_text("k/b"), .from_key = true, .count_only = true};
    MUST(cairn_range(c, &from, &r, &error) == CAIRN_OK && r->count == 2 && r->kv_count == 0);
    cairn_result_free(r);
    struct cairn_range_request all = {.prefix = true, .keys_only = true};
    MUST(cairn_range(c, &all, &r, &error) == CAIRN_OK && r->count == 3 && r->kvs[0].value.size == 0);
    cairn_result_free(r);
    struct cairn_put_request again = {.key = cairn_text("k/a"), .value = cairn_text("3"), .prev_kv = true};
    MUST(cairn_put(c, &again, &p, &error) == CAIRN_OK && p->prev_kv && is_text(p->prev_kv->value, "1"));
    cairn_result_free(p);
    struct cairn_range_request future = {.key = cairn_text("k/a"), .revision = 1 << 30};
    MUST(cairn_range(c, &future, &r, &error) == CAIRN_FUTURE && strstr(error.message, "future"));
    struct cairn_put_request empty = {.value = cairn_text("x")};
    MUST(cairn_put(c, &empty, NULL, &error) == CAIRN_INVALID && strstr(error.message, "key is not provided"));
    struct cairn_range_request both = {.key = cairn_text("k"), .prefix = true, .from_key = true};
    MUST(cairn_range(c, &both, &r, &error) == CAIRN_INVALID);
    struct cairn_delete_request drop = {.key = cairn_text("k/"), .prefix = true, .prev_kv = true};
    MUST(cairn_delete(c, &drop, &d, &error) == CAIRN_OK && d->deleted == 3 && d->prev_kv_count == 3);
    cairn_result_free(d);
}

static void transactions(struct cairn_client *c)
{
    put(c, "t/a", "1");
    struct cairn_compare value = {
        .key = cairn_text("t/a"), .target = CAIRN_COMPARE_VALUE, .value = cairn_text("1")};
    struct cairn_compare absent = {.key = cairn_text("t/b"), .target = CAIRN_COMPARE_CREATE};
    struct cairn_compare compares[] = {value, absent};
    struct cairn_put_request puts = {.key = cairn_text("t/b"), .value = cairn_text("2")};
    struct cairn_range_request get = {.key = cairn_text("t/"), .prefix = true};
    struct cairn_delete_request drop = {.key = cairn_text("t/a")};
    struct cairn_op inside[] = {{.del = &drop}};
    struct cairn_txn_request inner = {.then = inside, .then_count = 1};
    struct cairn_op then[] = {{.put = &puts}, {.range = &get}, {.txn = &inner}};
    struct cairn_op otherwise[] = {{.range = &get}};
    struct cairn_txn_request txn = {compares, 2, then, 3, otherwise, 1};
    struct cairn_txn_result *r;
    MUST(cairn_txn(c, &txn, &r, &error) == CAIRN_OK && r->succeeded && r->result_count == 3);
    MUST(r->results[0].put && r->results[1].range->count == 2 && r->results[2].txn->succeeded &&
         r->results[2].txn->results[0].del->deleted == 1);
    cairn_result_free(r);
    MUST(cairn_txn(c, &txn, &r, &error) == CAIRN_OK && !r->succeeded && r->results[0].range->count == 1);
    cairn_result_free(r);
    struct cairn_op none = {0};
    struct cairn_txn_request wrong = {.then = &none, .then_count = 1};
    MUST(cairn_txn(c, &wrong, &r, &error) == CAIRN_INVALID);
}

static void leases(struct cairn_client *c)
{
    struct cairn_lease_grant_request grant = {.ttl_seconds = 60};
    struct cairn_lease_grant_result *g;
    MUST(cairn_lease_grant(c, &grant, &g, &error) == CAIRN_OK && g->id && g->ttl_seconds == 60);
    struct cairn_put_request q = {.key = cairn_text("l/a"), .value = cairn_text("1"), .lease = g->id};
    MUST(cairn_put(c, &q, NULL, &error) == CAIRN_OK);
    struct cairn_lease_ttl_request ttl = {g->id, true};
    struct cairn_lease_ttl_result *t;
    MUST(cairn_lease_ttl(c, &ttl, &t, &error) == CAIRN_OK && t->granted_seconds == 60 && t->key_count == 1 &&
         is_text(t->keys[0], "l/a"));
    cairn_result_free(t);
    struct cairn_lease_list_result *l;
    MUST(cairn_lease_list(c, NULL, &l, &error) == CAIRN_OK && l->id_count == 1 && l->ids[0] == g->id);
    cairn_result_free(l);
    struct cairn_lease_revoke_request revoke = {g->id};
    MUST(cairn_lease_revoke(c, &revoke, NULL, &error) == CAIRN_OK);
    MUST(cairn_lease_revoke(c, &revoke, NULL, &error) == CAIRN_NOT_FOUND);
    cairn_result_free(g);
}

static int count_bytes(const void *data, size_t size, void *arg)
{
    (void)data;
    *(uint64_t *)arg += size;
    return *(uint64_t *)arg > (uint64_t)1 << 40;
}

static int refuse_bytes(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    (void)arg;
    return 1;
}

static void members_and_maintenance(struct cairn_client *c)
{
    struct cairn_member_list_result *m;
    MUST(cairn_member_list(c, NULL, &m, &error) == CAIRN_OK && m->members.count == 1 &&
         strcmp(m->members.list[0].name, "default") == 0 && m->members.list[0].client_url_count == 1);
    struct cairn_move_leader_request move = {m->members.list[0].id + 1};
    MUST(cairn_move_leader(c, &move, NULL, &error) < 0);
    cairn_result_free(m);
    struct cairn_member_remove_request remove = {77};
    MUST(cairn_member_remove(c, &remove, NULL, &error) == CAIRN_NOT_FOUND);
    struct cairn_status_result *s;
    MUST(cairn_status(c, NULL, &s, &error) == CAIRN_OK && s->leader == s->header.member_id && s->raft_index &&
         s->version[0] == '3');
    cairn_result_free(s);
    struct cairn_alarm_result *a;
    MUST(cairn_alarm(c, NULL, &a, &error) == CAIRN_OK && a->alarm_count == 0);
    cairn_result_free(a);
    struct cairn_hash_kv_result *h;
    MUST(cairn_hash_kv(c, NULL, &h, &error) == CAIRN_OK && h->hash);
    cairn_result_free(h);
    MUST(cairn_defragment(c, NULL, NULL, &error) == CAIRN_OK);
    uint64_t size = 0, counted = 0;
    MUST(cairn_snapshot(c, count_bytes, &counted, &size, &error) == CAIRN_OK && size && size == counted);
    MUST(cairn_snapshot(c, refuse_bytes, NULL, &size, &error) == CAIRN_IO);
    struct cairn_raw_result *raw;
    MUST(cairn_call(c, "/etcdserverpb.Maintenance/Status", cairn_text(""), true, 0, &raw, &error) ==
             CAIRN_OK &&
         raw->body.size > 10);
    cairn_result_free(raw);
    MUST(cairn_call(c, "/no.Such/Method", cairn_text(""), true, 0, &raw, &error) == CAIRN_UNIMPLEMENTED);
}

static void native(struct cairn_client *c)
{
    struct cairn_http_request get = {.method = "GET", .path = "/version"};
    struct cairn_http_result *r;
    MUST(cairn_http(c, &get, &r, &error) == CAIRN_OK && r->status == 200 &&
         strstr(r->body.data, "etcdserver"));
    cairn_result_free(r);
    get.path = "/api/v1/configs/none";
    MUST(cairn_http(c, &get, &r, &error) == CAIRN_NOT_FOUND && error.status == 404);
    get.path = "/a b";
    MUST(cairn_http(c, &get, &r, &error) == CAIRN_INVALID);
}

/* --- asynchronous ----------------------------------------------------------------------------------- */
struct counter {
    struct cairn_client *client;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int ended, well, inside;
};

static void on_put(struct cairn_put_result *r, const struct cairn_error *e, void *arg)
{
    struct counter *n = arg;
    struct cairn_put_request q = {.key = cairn_text("x"), .value = cairn_text("y")};
    int inside = cairn_put(n->client, &q, NULL, NULL); /* it must not wait here */
    pthread_mutex_lock(&n->mutex);
    n->ended++;
    n->well += e->code == CAIRN_OK;
    n->inside += inside == CAIRN_INVALID && cairn_close(n->client) == CAIRN_INVALID;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mutex);
    cairn_result_free(r);
}

static void many_at_once(struct cairn_client *c)
{
    struct counter n = {c, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    for (int i = 0; i < 500; i++) {
        char key[32];
        snprintf(key, sizeof key, "many/%d", i);
        struct cairn_put_request q = {.key = cairn_text(key), .value = cairn_text(key)};
        MUST(cairn_put_async(c, &q, on_put, &n) == CAIRN_OK);
    }
    pthread_mutex_lock(&n.mutex);
    while (n.ended < 500)
        pthread_cond_wait(&n.changed, &n.mutex);
    pthread_mutex_unlock(&n.mutex);
    MUST(n.well == 500 && n.inside == 500);
    /* Pending calls end when the client is closed. */
    struct cairn_client *other;
    struct cairn_options o = {.size = sizeof o, .endpoints = "127.0.0.1:1"};
    MUST(cairn_open(&o, &other, &error) == CAIRN_OK);
    n.client = other;
    struct cairn_put_request q = {.key = cairn_text("z")};
    MUST(cairn_put_async(other, &q, on_put, &n) == CAIRN_OK);
    MUST(cairn_close(other) == CAIRN_OK && n.ended == 501 && n.well == 500);
}

/* --- watches ---------------------------------------------------------------------------------------- */
struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char text[4096]; /* the updates, one letter and key each */
    int ended;
};

static void on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    (void)w;
    struct seen *s = arg;
    pthread_mutex_lock(&s->mutex);
    if (u->kind == CAIRN_WATCH_RESYNC)
        strcat(s->text, "resync ");
    for (size_t i = 0; i < u->event_count; i++)
        sprintf(s->text + strlen(s->text), "%c%.*s ", u->events[i].is_delete ? '-' : '+',
                (int)u->events[i].kv.key.size, (const char *)u->events[i].kv.key.data);
    s->ended += u->kind == CAIRN_WATCH_ENDED;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static bool comes(struct seen *s, const char *text)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int rc = 0;
    pthread_mutex_lock(&s->mutex);
    while (strcmp(s->text, text) != 0 && rc == 0)
        rc = pthread_cond_timedwait(&s->changed, &s->mutex, &until);
    if (rc)
        printf("    told: %s\n    wanted: %s\n", s->text, text);
    s->text[0] = 0;
    pthread_mutex_unlock(&s->mutex);
    return rc == 0;
}

static void watches(struct cairn_client *c)
{
    struct seen s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct cairn_watch *w;
    struct cairn_range_result *r;
    put(c, "w/a", "1");
    struct cairn_range_request get = {.key = cairn_text("w/a")};
    MUST(cairn_range(c, &get, &r, &error) == CAIRN_OK);
    struct cairn_watch_request q = {
        .key = cairn_text("w/"), .prefix = true, .start_revision = r->header.revision};
    MUST(cairn_watch_start(c, &q, on_update, &s, &w, &error) == CAIRN_OK);
    MUST(comes(&s, "+w/a "));
    put(c, "w/b", "1");
    MUST(comes(&s, "+w/b "));
    struct cairn_delete_request drop = {.key = cairn_text("w/a")};
    MUST(cairn_delete(c, &drop, NULL, &error) == CAIRN_OK);
    MUST(comes(&s, "-w/a "));
    cairn_watch_stop(w);
    put(c, "w/c", "1");

    /* A watch from a compacted revision gets the current state. */
    struct cairn_compact_request compact = {.revision = r->header.revision + 1, .physical = true};
    MUST(cairn_compact(c, &compact, NULL, &error) == CAIRN_OK);
    MUST(cairn_watch_start(c, &q, on_update, &s, &w, &error) == CAIRN_OK);
    MUST(comes(&s, "resync +w/b +w/c "));
    put(c, "w/d", "1");
    MUST(comes(&s, "+w/d "));
    cairn_watch_stop(w);
    cairn_result_free(r);
    struct cairn_watch_request nothing = {0};
    MUST(cairn_watch_start(c, &nothing, on_update, &s, &w, &error) == CAIRN_INVALID);
}

static void on_lease(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *e, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->mutex);
    strcat(s->text, ttl_seconds ? "alive " : e->code == CAIRN_LOST ? "lost " : "? ");
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (!ttl_seconds)
        cairn_keepalive_stop(k); /* inside its own callback */
}

static void keepalives(struct cairn_client *c)
{
    struct seen s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct cairn_lease_grant_request grant = {.ttl_seconds = 6};
    struct cairn_lease_grant_result *g;
    struct cairn_keepalive *k;
    MUST(cairn_lease_grant(c, &grant, &g, &error) == CAIRN_OK);
    MUST(cairn_keepalive_start(c, g->id, on_lease, &s, &k, &error) == CAIRN_OK);
    MUST(comes(&s, "alive "));
    struct cairn_lease_revoke_request revoke = {g->id};
    MUST(cairn_lease_revoke(c, &revoke, NULL, &error) == CAIRN_OK);
    MUST(comes(&s, "lost "));
    cairn_result_free(g);
}

/* --- registry and config center --------------------------------------------------------------------- */
static void on_registration(struct cairn_registration *r, enum cairn_registration_state state,
                            const struct cairn_error *e, void *arg)
{
    (void)r;
    (void)e;
    struct seen *s = arg;
    pthread_mutex_lock(&s->mutex);
    strcat(s->text, state == CAIRN_REGISTERED             ? "registered "
                    : state == CAIRN_REGISTRATION_REFUSED ? "refused "
                                                          : "broken ");
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    struct seen *s = arg;
    pthread_mutex_lock(&s->mutex);
    s->text[0] = 0;
    strcat(s->text, now->is_cached ? "cached:" : ":");
    for (size_t i = 0; i < now->count; i++)
        sprintf(s->text + strlen(s->text), "%s=%s:%d/%s/%d ", now->list[i].id, now->list[i].host,
                now->list[i].port, now->list[i].state, now->list[i].weight);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void registry(struct cairn_client *c)
{
    struct seen told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct seen view = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct cairn_registration *a, *b, *wrong;
    struct cairn_discovery *d;
    struct cairn_discover_request find = {.service = "orders"};
    MUST(cairn_discover_start(c, &find, on_instances, &view, &d, &error) == CAIRN_OK);
    MUST(comes(&view, ":"));
    struct cairn_register_request one = {.service = "orders",
                                         .id = "o1",
                                         .host = "10.0.0.5",
                                         .port = 8080,
                                         .tags = "blue,fast",
                                         .metadata = "a=1,b=\"2\"",
                                         .weight = 50};
    MUST(cairn_register_start(c, &one, on_registration, &told, &a, &error) == CAIRN_OK);
    MUST(comes(&told, "registered "));
    MUST(comes(&view, ":o1=10.0.0.5:8080/up/50 "));
    struct cairn_register_request two = {
        .service = "orders", .id = "o0", .json = "{\"host\":\"10.0.0.6\",\"port\":1,\"weight\":0}"};
    MUST(cairn_register_start(c, &two, on_registration, &told, &b, &error) == CAIRN_OK);
    MUST(comes(&told, "registered "));
    MUST(comes(&view, ":o0=10.0.0.6:1/up/0 o1=10.0.0.5:8080/up/50 "));
    struct cairn_instances *now;
    MUST(cairn_discover_now(d, &now) == CAIRN_OK && now->count == 2 && now->is_current && !now->is_cached &&
         now->list[1].is_serving && !now->list[0].is_serving && strstr(now->list[1].json, "fast"));
    cairn_result_free(now);
    struct cairn_register_request bad = {.service = "orders", .id = "o9", .json = "{\"port\":-1}"};
    MUST(cairn_register_start(c, &bad, on_registration, &told, &wrong, &error) == CAIRN_OK);
    MUST(comes(&told, "refused "));
    cairn_register_stop(wrong);
    MUST(cairn_register_stop(a) == CAIRN_OK);
    MUST(comes(&view, ":o0=10.0.0.6:1/up/0 "));
    MUST(cairn_register_stop(b) == CAIRN_OK);
    MUST(comes(&view, ":"));
    cairn_discover_stop(d);
}

static void on_config(struct cairn_config_watch *w, const struct cairn_config *config, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->mutex);
    if (config->is_deleted)
        strcat(s->text, "deleted ");
    else
        sprintf(s->text + strlen(s->text), "%s%d:%.*s(%d) ", config->is_cached ? "cached " : "",
                (int)config->seq, config->content.size < 20 ? (int)config->content.size : 3,
                (const char *)config->content.data, (int)config->content.size);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    cairn_config_applied(w, config->seq, config->seq == 2 ? "does not like it" : NULL);
}

static void configurations(struct cairn_client *c)
{
    struct seen s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct cairn_config_publish_result *p;
    struct cairn_config_watch *w;
    struct cairn_config *g;
    MUST(cairn_config_subscribe(c, NULL, NULL, "app.yaml", on_config, &s, &w, &error) == CAIRN_OK);
    MUST(comes(&s, "deleted "));
    struct cairn_config_publish_request q = {
        .name = "app.yaml", .content = cairn_text("a: 1"), .if_absent = true};
    MUST(cairn_config_publish(c, &q, &p, &error) == CAIRN_OK && p->seq == 1 && strlen(p->md5) == 32);
    MUST(comes(&s, "1:a: 1(4) "));
    MUST(cairn_config_publish(c, &q, NULL, &error) == CAIRN_OK || error.code == CAIRN_CONFLICT);
    struct cairn_config_publish_request swap = {
        .name = "app.yaml", .content = cairn_text("a: 2"), .if_md5 = p->md5, .title = "two & more"};
    MUST(cairn_config_publish(c, &swap, NULL, &error) == CAIRN_OK);
    MUST(comes(&s, "2:a: 2(4) "));
    swap.content = cairn_text("a: 3");
    MUST(cairn_config_publish(c, &swap, NULL, &error) == CAIRN_CONFLICT && error.status == 412);
    cairn_result_free(p);
    struct cairn_config_publish_request broken = {.name = "app.yaml", .content = cairn_text("a: [")};
    MUST(cairn_config_publish(c, &broken, NULL, &error) == CAIRN_INVALID && strstr(error.message, "line"));
    struct cairn_config_get_request get = {.name = "app.yaml"};
    MUST(cairn_config_get(c, &get, &g, &error) == CAIRN_OK && is_text(g->content, "a: 2") && g->seq == 2 &&
         strlen(g->md5) == 32 && g->revision && strcmp(g->format, "yaml") == 0);
    cairn_result_free(g);
    get.seq = 1;
    MUST(cairn_config_get(c, &get, &g, &error) == CAIRN_OK && is_text(g->content, "a: 1"));
    cairn_result_free(g);
    get.name = "none";
    get.seq = 0;
    MUST(cairn_config_get(c, &get, &g, &error) == CAIRN_NOT_FOUND);

    /* Larger than the contents that the stream carries. */
    size_t size = 200000;
    char *large = malloc(size);
    memset(large, 'x', size);
    struct cairn_config_publish_request big = {
        .name = "app.yaml", .content = {large, size}, .format = "text"};
    MUST(cairn_config_publish(c, &big, NULL, &error) == CAIRN_OK);
    MUST(comes(&s, "3:xxx(200000) "));
    free(large);
    struct cairn_http_request drop = {.method = "DELETE", .path = "/api/v1/configs/app.yaml"};
    MUST(cairn_http(c, &drop, NULL, &error) == CAIRN_OK);
    MUST(comes(&s, "deleted "));
    cairn_config_unsubscribe(w);
    struct cairn_config_publish_request last = {.name = "kept", .content = {"\1\xff\0z", 4}, .format = "bin"};
    MUST(cairn_config_publish(c, &last, NULL, &error) == CAIRN_OK);
    get.name = "kept";
    MUST(cairn_config_get(c, &get, &g, &error) == CAIRN_OK && g->content.size == 4 &&
         memcmp(g->content.data, "\1\xff\0z", 5) == 0);
    cairn_result_free(g);
}

/* With a server the client leaves the last state in the folder; without one it finds that state there. */
static void cached(const char *endpoint, const char *dir, bool is_left)
{
    struct cairn_options o = {.size = sizeof o,
                              .endpoints = endpoint,
                              .cache_dir = dir,
                              .dial_timeout_ms = 500,
                              .command_timeout_ms = is_left ? 60000 : 1000};
    struct seen s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct seen view = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", 0};
    struct cairn_client *c;
    struct cairn_discovery *d;
    struct cairn_config_watch *w;
    struct cairn_registration *r = NULL;
    struct cairn_discover_request find = {.service = "cached"};
    MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
    if (is_left) {
        struct cairn_register_request one = {.service = "cached", .id = "c1", .host = "h", .port = 1};
        struct cairn_config_publish_request q = {.name = "cached", .content = cairn_text("last")};
        MUST(cairn_config_publish(c, &q, NULL, &error) == CAIRN_OK);
        MUST(cairn_register_start(c, &one, on_registration, &view, &r, &error) == CAIRN_OK);
        MUST(comes(&view, "registered "));
    }
    MUST(cairn_discover_start(c, &find, on_instances, &view, &d, &error) == CAIRN_OK);
    MUST(comes(&view, is_left ? ":c1=h:1/up/100 " : "cached:c1=h:1/up/100 "));
    MUST(cairn_config_subscribe(c, NULL, NULL, "cached", on_config, &s, &w, &error) == CAIRN_OK);
    MUST(comes(&s, is_left ? "1:last(4) " : "cached 1:last(4) "));
    struct cairn_config_get_request get = {.name = "cached"};
    struct cairn_config *g;
    MUST(cairn_config_get(c, &get, &g, &error) == CAIRN_OK && g->is_cached == !is_left &&
         is_text(g->content, "last"));
    cairn_result_free(g);
    MUST(cairn_close(c) == CAIRN_OK); /* with all that runs on it */
}

static void options(void)
{
    struct cairn_client *c;
    struct cairn_options o = {0};
    MUST(cairn_open(&o, &c, &error) == CAIRN_INVALID && strstr(error.message, "size"));
    o.size = sizeof o;
    o.endpoints = "nonsense//";
    MUST(cairn_open(&o, &c, &error) == CAIRN_INVALID && strstr(error.message, "nonsense"));
    o.endpoints = "http://a:1,https://b:2";
    MUST(cairn_open(&o, &c, &error) == CAIRN_INVALID);
    o.endpoints = NULL;
    o.ca_file = "/nowhere/ca.pem";
    MUST(cairn_open(&o, &c, &error) == CAIRN_INVALID && strstr(error.message, "/nowhere/ca.pem"));
    o.ca_file = NULL;
    o.endpoints = "127.0.0.1:1";
    o.dial_timeout_ms = 2000; /* longer than a refused attempt takes under valgrind */
    MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
    struct cairn_put_request q = {.key = cairn_text("a")};
    MUST(cairn_put(c, &q, NULL, &error) == CAIRN_UNAVAILABLE && strstr(error.message, "127.0.0.1:1"));
    MUST(cairn_close(c) == CAIRN_OK && cairn_close(NULL) == CAIRN_OK);
}

int main(int argc, char **argv)
{
    struct cairn_options o = {.size = sizeof o,
                              .endpoints = argc > 1 ? argv[1] : NULL,
                              .command_timeout_ms = 60000,
                              .dial_timeout_ms = 60000};
    struct cairn_client *c;
    if (argc == 3) { /* TLS: not by what this machine trusts, but by the given CA */
        o.command_timeout_ms = 2000;
        MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
        struct cairn_status_result *s;
        MUST(cairn_status(c, NULL, &s, &error) == CAIRN_UNAVAILABLE &&
             strstr(error.message, "verify certificate"));
        MUST(cairn_close(c) == CAIRN_OK);
        o.command_timeout_ms = 60000;
        o.ca_file = argv[2];
    }
    if (argc == 5) { /* with a wrong password first */
        struct cairn_put_request q = {.key = cairn_text("a")};
        o.user = argv[3];
        o.password = "wrong";
        MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
        MUST(cairn_put(c, &q, NULL, &error) == CAIRN_UNAUTHENTICATED &&
             strstr(error.message, "authentication failed"));
        MUST(cairn_close(c) == CAIRN_OK);
        o.password = NULL;
        o.user = NULL;
        MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
        MUST(cairn_put(c, &q, NULL, &error) == CAIRN_INVALID || error.code == CAIRN_UNAUTHENTICATED ||
             error.code == CAIRN_DENIED);
        MUST(cairn_close(c) == CAIRN_OK);
        o.user = argv[3];
        o.password = argv[4];
    }
    if (argc == 4) {
        cached(argv[1], argv[2], strcmp(argv[3], "leave") == 0);
        return 0;
    }
    options();
    MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
    keys_and_values(c);
    transactions(c);
    leases(c);
    watches(c);
    keepalives(c);
    members_and_maintenance(c);
    native(c);
    registry(c);
    configurations(c);
    many_at_once(c);
    char endpoint[64];
    cairn_endpoint(c, endpoint, sizeof endpoint);
    MUST(argc < 2 || strcmp(endpoint, argv[1]) == 0);
    MUST(cairn_close(c) == CAIRN_OK);
    puts("calls: all well");
    return 0;
}
