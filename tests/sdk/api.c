/* SPDX-License-Identifier: Apache-2.0
 * Test of every route of cairn_api.h on one member: api ENDPOINT; api table prints the routes, one a line.
 * The first failure is printed with its line, and ends the program with 1. */
#include <cairn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cairn_error error;
static struct cairn_client *c;

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            printf("api.c:%d: %s\n    last error: %s %s\n", __LINE__, #what, cairn_error_name(error.code),   \
                   error.message);                                                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* OK(call, fields of the request...): the call succeeds; `r` is its result until the next one. */
static struct cairn_api_result *r;
#define CALL(name, ...)                                                                                      \
    (cairn_result_free(r), r = NULL,                                                                         \
     cairn_##name(c, &(struct cairn_api_request){__VA_ARGS__}, NULL, &r, &error))
#define OK(name, ...) MUST(CALL(name, __VA_ARGS__) == CAIRN_OK)

static bool body_has(const char *text)
{
    return strstr(r->body.data, text) != NULL;
}

static void services(void)
{
    char session[40], key[80];
    OK(session_open, .body = cairn_text("{\"ttl\":60,\"client_id\":\"api\"}"));
    MUST(r->session[0] && r->session_key[0] && r->ttl_seconds == 60 && r->heartbeat_ms == 20000);
    snprintf(session, sizeof session, "%s", r->session);
    snprintf(key, sizeof key, "%s", r->session_key);
    struct cairn_bytes a = cairn_text("{\"host\":\"10.0.0.1\",\"port\":80,\"zone\":\"a\",\"version\":\"v1\","
                                      "\"tags\":[\"x\",\"y\"],\"metadata\":{\"k\":\"v\",\"l\":\"w\"}}");
    struct cairn_bytes b =
        cairn_text("{\"host\":\"10.0.0.2\",\"port\":80,\"zone\":\"b\",\"version\":\"v2\"}");
    OK(instance_put, .name = "api", .id = "a", .session = session, .session_key = key, .body = a);
    OK(instance_put, .name = "api", .id = "a", .session = session, .body = a);
    MUST(r->is_unchanged);
    OK(instance_put, .name = "api", .id = "b 1 \xc3\xa4", .session = session, .body = b);
    OK(instance_put_list, .session = session, .session_key = key,
       .body =
           cairn_text("{\"instances\":[{\"service\":\"api\",\"id\":\"a\",\"host\":\"10.0.0.1\",\"port\":80,"
                      "\"zone\":\"a\",\"version\":\"v1\",\"tags\":[\"x\",\"y\"],\"metadata\":{\"k\":\"v\","
                      "\"l\":\"w\"}}]}"));
    MUST(body_has("\"changed\":0"));
    MUST(CALL(instance_put, .name = "api", .id = "c", .body = cairn_text("{}")) == CAIRN_INVALID);
    OK(session_heartbeat, .id = session, .session_key = key);
    MUST(CALL(session_heartbeat, .id = session, .session_key = "00000000000000000000000000000000") ==
         CAIRN_DENIED);
    OK(service_get, .name = "api", .zone = "b");
    MUST(r->instances && r->instances->count == 2 && strcmp(r->instances->list[0].host, "10.0.0.2") == 0);
    MUST(r->item_count == 2 && strcmp(r->items[1].id, "a") == 0 && r->revision > 0 && r->etag[0]);
    OK(service_get, .name = "api", .tags = "x,y", .labels = "k=v,l=w", .version = "v1", .only_serving = true,
       .is_local = true);
    MUST(r->item_count == 1);
    OK(instance_get, .name = "api", .id = "a");
    MUST(body_has("10.0.0.1"));
    uint64_t revision = (uint64_t)r->revision;
    OK(service_get, .name = "api", .wait_revision = revision, .wait_ms = 500);
    MUST(r->status == 304);
    MUST(CALL(check_report, .name = "api", .id = "a", .body = cairn_text("{\"state\":\"up\"}")) ==
         CAIRN_CONFLICT);
    OK(override_put, .name = "api", .id = "a", .body = cairn_text("{\"weight\":0,\"reason\":\"test\"}"));
    OK(service_get, .name = "api", .wait_revision = revision, .wait_ms = 5000);
    MUST(r->status == 200 && r->instances->list[0].weight == 0 && !r->instances->list[0].is_serving);
    OK(override_delete, .name = "api", .id = "a");
    MUST(CALL(override_delete, .name = "api", .id = "a") == CAIRN_NOT_FOUND);
    OK(instance_drain, .name = "api", .id = "a", .body = cairn_text("{\"deadline_ms\":2000}"));
    MUST(body_has("\"complete\""));
    OK(service_subscribers, .name = "api");
    OK(service_events, .name = "api");
    OK(instance_put, .name = "api-ttl", .id = "t",
       .body = cairn_text("{\"host\":\"10.0.0.9\",\"check\":{\"type\":\"ttl\",\"ttl\":\"1h\"}}"));
    OK(check_report, .name = "api-ttl", .id = "t",
       .body = cairn_text("{\"state\":\"warn\",\"output\":\"busy\"}"));
    OK(instance_get, .name = "api-ttl", .id = "t");
    MUST(body_has("\"checked\":{\"state\":\"warn\",\"output\":\"busy\"}"));
    OK(instance_delete, .name = "api-ttl", .id = "t");
    OK(service_set, .name = "api", .body = cairn_text("{\"protect_threshold\":0.3}"));
    OK(service_unset, .name = "api");
    OK(service_list, .prefix = "ap", .limit = 1);
    MUST(r->item_count == 1 && strcmp(r->items[0].name, "api") == 0);
    OK(prometheus_targets, .service = "api");
    MUST(body_has("10.0.0.1:80"));
    OK(instance_delete, .name = "api", .id = "a", .session_key = key);
    OK(session_end, .id = session, .session_key = key);
    MUST(CALL(session_end, .id = session, .session_key = key) == CAIRN_LOST);
}

/* Reviews, schedules and rollouts. Without users nobody else could approve. */
static void approval(void)
{
    struct cairn_bytes none = cairn_text("{}");
    OK(policy_put, .body = cairn_text("{\"review\":[\"reviewed.json\"]}"));
    OK(policy_get, .ns = "default");
    MUST(body_has("reviewed.json"));
    MUST(CALL(config_put, .name = "reviewed.json", .body = none) == CAIRN_DENIED);
    OK(draft_put, .name = "reviewed.json", .body = none);
    OK(draft_submit, .name = "reviewed.json", .body = none);
    OK(draft_review, .name = "reviewed.json");
    MUST(body_has("\"submitted\""));
    OK(review_list, .limit = 10);
    MUST(CALL(draft_approve, .name = "reviewed.json", .body = cairn_text("{\"draft_revision\":1}")) !=
         CAIRN_OK);
    MUST(CALL(draft_reject, .name = "reviewed.json", .body = cairn_text("{\"draft_revision\":1}")) !=
         CAIRN_OK);
    OK(config_put, .name = "reviewed.json", .body = none, .emergency = "INC-7");
    OK(policy_delete, .ns = "default");
    MUST(CALL(schedule_get, .name = "reviewed.json") == CAIRN_NOT_FOUND);
    MUST(CALL(schedule_delete, .name = "reviewed.json") == CAIRN_NOT_FOUND);
    OK(schedule_list, .limit = 10);
    MUST(CALL(rollout_get, .name = "reviewed.json") == CAIRN_NOT_FOUND);
    OK(config_put, .name = "reviewed.json", .body = cairn_text("{\"a\":1}"));
    OK(rollout_put, .name = "reviewed.json",
       .body = cairn_text("{\"seq\":1,\"steps\":[{\"percent\":5,\"for\":\"1h\"}]}"));
    OK(rollout_get, .name = "reviewed.json");
    OK(rollout_list, .limit = 10);
    OK(rollout_pause, .name = "reviewed.json", .body = none);
    OK(rollout_resume, .name = "reviewed.json", .body = none);
    OK(rollout_promote, .name = "reviewed.json", .body = none);
    MUST(CALL(rollout_abort, .name = "reviewed.json", .body = none) != CAIRN_OK);
    OK(draft_put, .name = "reviewed.json", .is_deletion = true);
    OK(draft_delete, .name = "reviewed.json");
    OK(config_delete, .name = "reviewed.json");
}

/* Exports, imports, bundles, and two namespaces compared. */
static void namespaces_side_by_side(void)
{
    OK(configs_export, .ns = "default");
    struct cairn_bytes archive = r->body;
    struct cairn_api_result *kept = r;
    r = NULL;
    OK(configs_import, .ns = "copy", .body = archive, .policy = "abort");
    cairn_result_free(kept);
    OK(config_list, .ns = "copy", .prefix = "api");
    MUST(r->item_count == 1 && strcmp(r->items[0].name, "api.json") == 0);
    for (int k = 0; k < 2; k++) { /* the second one finds nothing to delete, and gets the first answer */
        OK(bundle_publish, .ns = "copy", .idempotency_key = "bundle-1",
           .body = cairn_text("{\"publish\":[{\"name\":\"b.txt\",\"content\":\"1\"}],\"delete\":[{\"name\":"
                              "\"api.json\"}]}"));
        MUST(body_has("\"changed\":2"));
    }
    OK(config_list, .ns = "copy", .prefix = "b.txt");
    MUST(r->item_count == 1);
    OK(config_list, .ns = "copy", .prefix = "api");
    MUST(r->item_count == 0);
    OK(config_list, .ns = "copy", .prefix = "api", .with_deleted = true);
    MUST(r->item_count == 1);
    OK(configs_compare, .ns = "copy", .to_ns = "promoted", .prefix = "b.txt");
    MUST(r->item_count == 1 && strcmp(r->items[0].name, "b.txt") == 0 && body_has("only_from"));
    OK(configs_promote, .idempotency_key = "promote-1",
       .body = cairn_text(
           "{\"from\":\"copy\",\"to\":\"promoted\",\"items\":[{\"name\":\"b.txt\",\"seq\":1,\"to_seq\":0}]"
           "}"));
    MUST(body_has("\"changed\":1"));
    OK(configs_compare, .ns = "copy", .to_ns = "promoted", .prefix = "b.txt");
    MUST(r->item_count == 1 && body_has("same"));
}

static void configs(void)
{
    struct cairn_bytes one = cairn_text("{\"a\":1}"), two = cairn_text("{\"a\":2}");
    MUST(CALL(config_read, .name = "api.json") == CAIRN_NOT_FOUND);
    OK(config_put, .name = "api.json", .body = one, .only_validate = true);
    MUST(CALL(config_put, .name = "api.json", .body = cairn_text("{"), .only_validate = true) ==
         CAIRN_INVALID);
    OK(config_put, .name = "api.json", .body = one, .if_absent = true, .title = "first", .note = "n");
    MUST(r->seq == 1 && r->md5[0] && !r->is_unchanged);
    char md5[33];
    snprintf(md5, sizeof md5, "%s", r->md5);
    MUST(CALL(config_put, .name = "api.json", .body = two, .if_absent = true) == CAIRN_CONFLICT);
    OK(config_put, .name = "api.json", .body = two, .if_md5 = md5, .if_seq = 1);
    OK(config_put, .name = "for.json", .body = one, .on_behalf_of = "carol");
    OK(audit_list, .name = "for.json", .kind = "config", .from = 1, .limit = 10);
    MUST(body_has("\"on_behalf_of\":\"carol\"") && !body_has("api.json"));
    MUST(CALL(audit_list, .title = "x") == CAIRN_INVALID);
    struct cairn_bytes document = {(const uint8_t *)"{\"title\":\"T\"}", 13};
    OK(namespace_put, .name = "sdk", .body = document);
    OK(namespace_get, .name = "sdk");
    MUST(body_has("\"title\":\"T\""));
    OK(namespace_list, .prefix = "sd");
    OK(namespace_delete, .name = "sdk", .cascade = true, .dry_run = true);
    OK(namespace_delete, .name = "sdk");
    MUST(CALL(namespace_deletion, .name = "sdk") == CAIRN_NOT_FOUND);
    OK(config_delete, .name = "for.json");
    approval();
    OK(config_read, .name = "api.json");
    MUST(r->body.size == two.size && memcmp(r->body.data, two.data, two.size) == 0 && r->seq == 2);
    OK(config_read, .name = "api.json", .with_meta = true, .seq = 1);
    MUST(body_has("first") && strcmp(r->md5, md5) == 0);
    OK(config_history, .name = "api.json", .limit = 1);
    MUST(r->item_count == 1 && r->items[0].seq == 2 && r->next[0]);
    char next[200];
    snprintf(next, sizeof next, "%s", r->next);
    OK(config_history, .name = "api.json", .limit = 1, .next = next);
    MUST(r->item_count == 1 && r->items[0].seq == 1);
    OK(config_diff, .name = "api.json", .from = 1, .to = 2);
    MUST(body_has("+{\"a\":2}"));
    OK(config_rollback, .name = "api.json", .body = cairn_text("{\"seq\":1}"), .if_seq = 2);
    MUST(r->seq == 3);
    OK(config_poll,
       .body = cairn_text("{\"configs\":[{\"name\":\"api.json\",\"seq\":2},{\"name\":\"none\"}]}"));
    MUST(body_has("\"seq\":3") && !body_has("none"));
    OK(draft_put, .name = "api.json", .body = cairn_text("{\"a\":"), .format = "json");
    OK(draft_get, .name = "api.json");
    MUST(body_has("{\"a\":"));
    MUST(CALL(draft_publish, .name = "api.json") == CAIRN_INVALID);
    OK(draft_delete, .name = "api.json");
    OK(draft_put, .name = "api.json", .body = two);
    OK(draft_publish, .name = "api.json");
    MUST(r->seq == 4);
    OK(gray_put, .name = "api.json", .id = "canary",
       .body = cairn_text("{\"match\":{\"zone\":[\"b\"]},\"content\":\"{\\\"a\\\":3}\"}"));
    OK(gray_get, .name = "api.json", .id = "canary");
    OK(config_read, .name = "api.json"); /* this client has the label */
    MUST(body_has("{\"a\":3}"));
    OK(gray_promote, .name = "api.json", .id = "canary");
    MUST(CALL(gray_delete, .name = "api.json", .id = "canary") == CAIRN_NOT_FOUND);
    OK(config_listeners, .name = "api.json");
    OK(config_delivery, .name = "api.json", .id = "1");
    namespaces_side_by_side();
    OK(config_delete, .name = "api.json", .note = "gone");
    OK(openapi, .name = NULL);
    MUST(body_has("3.1.0"));
    OK(asyncapi, .name = NULL);
    MUST(body_has("cairn.v1+json"));
    OK(errors_page, .name = NULL);
    MUST(body_has("### not_found"));
}

static void misuse(void)
{
    MUST(CALL(service_get, .name = "api", .if_seq = 1) == CAIRN_INVALID && strstr(error.message, "if_seq"));
    MUST(CALL(config_history, .name = "x", .idempotency_key = "k") == CAIRN_INVALID);
    MUST(CALL(bundle_publish, .idempotency_key = "a\r\nb", .body = cairn_text("{}")) == CAIRN_INVALID);
    MUST(CALL(service_get, .id = "x") == CAIRN_INVALID && strstr(error.message, "name"));
    MUST(CALL(service_list, .name = "x") == CAIRN_INVALID);
    MUST(CALL(session_open, .session_key = "a\r\nb") == CAIRN_INVALID);
    MUST(CALL(service_get, .name = "x", .body = cairn_text("x")) == CAIRN_INVALID);
}

/* --- lists and discovery with selectors --------------------------------------------------------------- */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static size_t list_counts[2], selected = 99, absent = 99, pattern_counts[2];
static uint64_t list_seq;

static void on_list(struct cairn_list_watch *w, const struct cairn_list *now, void *arg)
{
    pthread_mutex_lock(&mutex);
    *(size_t *)arg = now->count;
    if (arg == &list_counts[1] && now->count) {
        list_seq = now->items[0].seq;
        MUST(now->items[0].has_content && now->items[0].content.size == 4);
        cairn_list_applied(w, now->items[0].id, list_seq, NULL);
    }
    pthread_mutex_unlock(&mutex);
}

static void on_instances(struct cairn_discovery *d, const struct cairn_instances *now, void *arg)
{
    (void)d;
    (void)arg;
    pthread_mutex_lock(&mutex);
    selected = now->count;
    absent = now->is_absent && now->revision > 0;
    pthread_mutex_unlock(&mutex);
}

static bool becomes(const size_t *number, size_t value)
{
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        size_t now = *number;
        pthread_mutex_unlock(&mutex);
        if (now == value)
            return true;
        usleep(20000);
    }
    return false;
}

static void lists(void)
{
    struct cairn_list_request services = {.kind = CAIRN_LIST_SERVICES, .all_groups = true, .prefix = "list-"};
    struct cairn_list_request configs = {.kind = CAIRN_LIST_CONFIGS, .prefix = "list-"};
    struct cairn_discover_request one = {.service = "list-a", .version = "v2", .tags = "t", .labels = "k=v"};
    struct cairn_list_watch *s, *g;
    struct cairn_discovery *d;
    list_counts[0] = list_counts[1] = 99;
    MUST(cairn_list_start(c, &services, on_list, &list_counts[0], &s, &error) == CAIRN_OK);
    MUST(cairn_list_start(c, &configs, on_list, &list_counts[1], &g, &error) == CAIRN_OK);
    MUST(cairn_discover_start(c, &one, on_instances, NULL, &d, &error) == CAIRN_OK);
    struct cairn_list_request by_pattern[2] = {
        {.kind = CAIRN_LIST_SERVICES, .group = "*", .prefix = "*st-*"},
        {.kind = CAIRN_LIST_CONFIGS, .ns = "*", .all_groups = true, .prefix = "list-*.yaml"}};
    struct cairn_list_watch *p[2];
    for (size_t i = 0; i < 2; i++) {
        pattern_counts[i] = 99;
        MUST(cairn_list_start(c, &by_pattern[i], on_list, &pattern_counts[i], &p[i], &error) == CAIRN_OK);
        MUST(becomes(&pattern_counts[i], 0));
    }
    MUST(becomes(&list_counts[0], 0) && becomes(&list_counts[1], 0) && becomes(&selected, 0));
    MUST(becomes(&absent, 1));
    OK(instance_put, .name = "list-a", .id = "1", .body = cairn_text("{\"host\":\"h\",\"version\":\"v1\"}"));
    OK(instance_put, .name = "list-a", .id = "2",
       .body = cairn_text("{\"host\":\"h\",\"version\":\"v2\",\"tags\":[\"t\"],\"metadata\":{\"k\":\"v\"}}"));
    OK(instance_put, .name = "list-b", .id = "1", .group = "g", .body = cairn_text("{\"host\":\"h\"}"));
    OK(instance_put, .name = "other", .id = "1", .body = cairn_text("{\"host\":\"h\"}"));
    OK(config_put, .name = "list-a.yaml", .body = cairn_text("a: 1"));
    MUST(becomes(&list_counts[0], 2) && becomes(&list_counts[1], 1) && becomes(&selected, 1));
    MUST(becomes(&absent, 0) && becomes(&pattern_counts[0], 2) && becomes(&pattern_counts[1], 1));
    for (int i = 0;; i++) { /* the acknowledgement arrives */
        OK(config_delivery, .name = "list-a.yaml", .id = "1");
        if (body_has("\"applied\":1") || body_has("\"state\":\"applied\"") || i == 200)
            break;
        usleep(20000);
    }
    MUST(body_has("applied"));
    OK(config_delete, .name = "list-a.yaml");
    MUST(becomes(&list_counts[1], 0) && becomes(&pattern_counts[1], 0));
    OK(instance_delete, .name = "list-a", .id = "1");
    OK(instance_delete, .name = "list-a", .id = "2");
    MUST(becomes(&absent, 1) && becomes(&pattern_counts[0], 1));
    for (size_t i = 0; i < 2; i++)
        cairn_list_stop(p[i]);
    cairn_list_stop(s);
    cairn_list_stop(g);
    cairn_discover_stop(d);
    services.group = "g";
    MUST(cairn_list_start(c, &services, on_list, NULL, &s, &error) == CAIRN_INVALID);
}

static char instances_seen[200];

static void on_instances_list(struct cairn_list_watch *w, const struct cairn_list *now, void *arg)
{
    (void)w;
    (void)arg;
    pthread_mutex_lock(&mutex);
    instances_seen[0] = 0;
    for (size_t i = 0; i < now->count; i++) {
        size_t n = strlen(instances_seen);
        snprintf(instances_seen + n, sizeof instances_seen - n, "%s %s %s %s;", now->items[i].id,
                 now->items[i].name, now->instances[i].id, now->instances[i].version);
    }
    pthread_mutex_unlock(&mutex);
}

static bool sees_instances(const char *text)
{
    char now[200] = "";
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        snprintf(now, sizeof now, "%s", instances_seen);
        pthread_mutex_unlock(&mutex);
        if (strcmp(now, text) == 0)
            return true;
        usleep(20000);
    }
    printf("  instances: %s\n", now);
    return false;
}

/* Instances of many services, with selectors. */
static void instance_lists(void)
{
    struct cairn_list_request q = {.kind = CAIRN_LIST_INSTANCES,
                                   .all_groups = true,
                                   .prefix = "many-*",
                                   .version = "v2",
                                   .labels = "k=v"};
    struct cairn_list_watch *w;
    strcpy(instances_seen, "not yet");
    MUST(cairn_list_start(c, &q, on_instances_list, NULL, &w, &error) == CAIRN_OK);
    MUST(sees_instances(""));
    OK(instance_put, .name = "many-a", .id = "1", .body = cairn_text("{\"host\":\"h\",\"version\":\"v1\"}"));
    OK(instance_put, .name = "many-a", .id = "2",
       .body = cairn_text("{\"host\":\"h\",\"version\":\"v2\",\"metadata\":{\"k\":\"v\"}}"));
    OK(instance_put, .name = "many-b", .id = "3", .group = "g",
       .body = cairn_text("{\"host\":\"h\",\"version\":\"v2\",\"metadata\":{\"k\":\"v\"}}"));
    OK(instance_put, .name = "other", .id = "4",
       .body = cairn_text("{\"host\":\"h\",\"version\":\"v2\",\"metadata\":{\"k\":\"v\"}}"));
    MUST(sees_instances("default/many-a/2 many-a 2 v2;g/many-b/3 many-b 3 v2;"));
    OK(instance_delete, .name = "many-a", .id = "2");
    MUST(sees_instances("g/many-b/3 many-b 3 v2;"));
    cairn_list_stop(w);
    q.kind = CAIRN_LIST_SERVICES;
    MUST(cairn_list_start(c, &q, on_instances_list, NULL, &w, &error) == CAIRN_INVALID);
    q = (struct cairn_list_request){.kind = CAIRN_LIST_CONFIGS, .labels = "k=v"};
    MUST(cairn_list_start(c, &q, on_instances_list, NULL, &w, &error) == CAIRN_INVALID);
}

static char audit_seen[400];
static int64_t audit_revision;

static void on_audit(struct cairn_audit_watch *w, const struct cairn_audit_changes *changes, void *arg)
{
    (void)w;
    pthread_mutex_lock(&mutex);
    if (changes->is_reset && arg)
        audit_seen[0] = 0;
    for (size_t i = 0; i < changes->count; i++) {
        size_t n = strlen(audit_seen);
        const struct cairn_audit_change *a = &changes->list[i];
        snprintf(audit_seen + n, sizeof audit_seen - n, "%s %s %s %s %s%s;", a->user, a->kind, a->operation,
                 a->name, a->id, changes->is_reset ? " kept" : "");
        MUST(a->revision <= changes->revision && a->time_ms > 0 && strlen(a->record) == 47);
        MUST(strstr(a->json, a->record));
    }
    audit_revision = changes->revision;
    pthread_mutex_unlock(&mutex);
}

static bool sees_audit(const char *text)
{
    char now[400] = "";
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        snprintf(now, sizeof now, "%s", audit_seen);
        pthread_mutex_unlock(&mutex);
        if (strcmp(now, text) == 0)
            return true;
        usleep(20000);
    }
    printf("  audit: %s\n", now);
    return false;
}

/* The audit trail as it grows: with what is kept, and after a revision. */
static void audit_trail(void)
{
    struct cairn_audit_request q = {.kind = "override", .name = "trail"};
    struct cairn_audit_watch *w;
    strcpy(audit_seen, "not yet");
    OK(instance_put, .name = "trail", .id = "1", .body = cairn_text("{\"host\":\"h\"}"));
    OK(override_put, .name = "trail", .id = "1", .body = cairn_text("{\"weight\":3}"));
    MUST(cairn_audit_start(c, &q, on_audit, &q, &w, &error) == CAIRN_OK);
    MUST(sees_audit("anonymous override put trail 1 kept;"));
    OK(override_delete, .name = "trail", .id = "1");
    OK(override_put, .name = "trail-2", .id = "1", .body = cairn_text("{\"weight\":3}"));
    MUST(sees_audit("anonymous override put trail 1 kept;anonymous override delete trail 1;"));
    pthread_mutex_lock(&mutex);
    q.after_revision = audit_revision;
    audit_seen[0] = 0;
    pthread_mutex_unlock(&mutex);
    cairn_audit_stop(w);
    OK(override_put, .name = "trail", .id = "9", .body = cairn_text("{\"weight\":3}"));
    q.user = "anonymous";
    MUST(cairn_audit_start(c, &q, on_audit, NULL, &w, &error) == CAIRN_OK);
    MUST(sees_audit("anonymous override put trail 9;"));
    cairn_audit_stop(w);
    MUST(cairn_audit_start(c, NULL, NULL, NULL, &w, &error) == CAIRN_INVALID);
}

/* A discovery knows how old an instance is; picks skip, and follow a key. */
static void picks(void)
{
    struct cairn_discover_request q = {.service = "pick"};
    struct cairn_pick_request p = {.size = sizeof p, .zone = "b", .key = "user-7", .warm_up_ms = 60000};
    struct cairn_discovery *d;
    struct cairn_instances *now;
    size_t at, again;
    OK(instance_put, .name = "pick", .id = "1", .body = cairn_text("{\"host\":\"h\",\"zone\":\"a\"}"));
    OK(instance_put, .name = "pick", .id = "2", .body = cairn_text("{\"host\":\"h\",\"zone\":\"b\"}"));
    selected = 99;
    MUST(cairn_discover_start(c, &q, on_instances, NULL, &d, &error) == CAIRN_OK && becomes(&selected, 2));
    OK(instance_put, .name = "pick", .id = "3", .body = cairn_text("{\"host\":\"h\",\"zone\":\"a\"}"));
    MUST(becomes(&selected, 3));
    usleep(20000);
    MUST(cairn_discover_now(d, &now) == CAIRN_OK && now->count == 3);
    MUST(now->ages_ms[0] == UINT64_MAX && now->ages_ms[2] >= 20 && now->ages_ms[2] < 60000);
    for (int i = 0; i < 100; i++)
        MUST(cairn_pick(now, &p, &at, &error) == CAIRN_OK && at == 1);
    const char *skip[] = {"2", "1", "3"};
    p.skip = skip;
    p.skip_count = 1;
    MUST(cairn_pick(now, &p, &at, &error) == CAIRN_OK && at != 1);
    MUST(cairn_pick(now, &p, &again, &error) == CAIRN_OK && again == at);
    p.skip_count = 3;
    MUST(cairn_pick(now, &p, &at, &error) == CAIRN_NOT_FOUND);
    p.warm_up_ms = 3600001;
    MUST(cairn_pick(now, &p, &at, &error) == CAIRN_INVALID);
    MUST(cairn_pick(now, NULL, &at, &error) == CAIRN_OK && at < 3);
    cairn_result_free(now);
    cairn_discover_stop(d);
}

static int async_code = 1;

static void on_result(struct cairn_api_result *result, const struct cairn_error *e, void *arg)
{
    (void)arg;
    MUST(e->code || result->item_count > 0);
    cairn_result_free(result);
    pthread_mutex_lock(&mutex);
    async_code = e->code;
    pthread_mutex_unlock(&mutex);
}

static void async(void)
{
    MUST(cairn_service_list_async(c, NULL, NULL, on_result, NULL) == CAIRN_OK);
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&mutex);
        bool is_over = async_code != 1;
        pthread_mutex_unlock(&mutex);
        if (is_over)
            break;
        usleep(20000);
    }
    MUST(async_code == CAIRN_OK);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "table") == 0) {
#define ROW(name, method, path, parameters) printf("%s %s %s\n", method, path, parameters);
        CAIRN_API_CALLS(ROW)
        return 0;
    }
    struct cairn_options o = {.size = sizeof o, .endpoints = argv[1], .client_id = "api", .labels = "zone=b"};
    MUST(cairn_open(&o, &c, &error) == CAIRN_OK);
    services();
    configs();
    misuse();
    lists();
    instance_lists();
    audit_trail();
    picks();
    async();
    cairn_result_free(r);
    MUST(cairn_close(c) == CAIRN_OK);
    puts("api: all well");
    return 0;
}
