/* SPDX-License-Identifier: Apache-2.0
 * Tests of subscriptions by pattern: at each revision the view of each equals the full list, filtered by a plain
 * matcher; the chain of revisions holds over reconnects; each reader sees what its roles allow, also when they
 * change. Also that a subscription on one name says when it does not exist. */
#include "tests/unit/stream_world.h"

#include <fnmatch.h>
#include <stdlib.h>

#include "base/log.h"
#include "server/api/poll.h"
#include "tests/unit/unit.h"

static struct stream_world world;
static struct stream_options options;

static int open_world(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    options = (struct stream_options){.mark_ms = 3600 * 1000};
    stream_world_open(&world, &options, "");
    return 0;
}

static int open_users(void **state)
{
    static const char *const users[] = {"alice", "bob"};
    (void)state;
    memset(&world, 0, sizeof world);
    world.has_users = true;
    options = (struct stream_options){.mark_ms = 3600 * 1000};
    stream_world_open(&world, &options, "");
    for (size_t i = 0; i < COUNT_OF(users); i++)
        stream_world_add_user(&world, users[i]);
    stream_world_enable(&world);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

static void put(const char *path, bool is_put)
{
    char key[300];
    snprintf(key, sizeof key, "/cairn/registry/instances/%s", path);
    if (is_put)
        one_node_put(&world.node, key, "{\"host\":\"h\",\"port\":1}", 0);
    else
        one_node_delete(&world.node, key, NULL);
}

static void take(struct stream_client *c, struct stream_model *m)
{
    const char *frame = stream_client_next(c);
    if (strstr(frame, "\"type\":\"error\""))
        fail_msg("%s", frame);
    stream_model_take(m, frame);
}

static bool has(const struct stream_model *m, const char *id)
{
    return json_object_get(m->items, id) != NULL;
}

/* --- the model --------------------------------------------------------------------------------------- */

static const char *const namespaces[] = {"default", "dev-1", "dev-2", "prod"};
static const char *const groups[] = {"default", "g1", "g2"};
static const char *const names[] = {"app-a", "app-b", "web", "app-"};
enum { PLACES = 4 * 3 * 4, INSTANCES = 2 };

struct place {
    const char *ns, *group, *name;
    bool is_published;
    bool has_instance[INSTANCES];
};
static struct place places[PLACES];

struct pattern {
    const char *kind, *frame;          /* more fields of the frame */
    const char *ns, *groups[2], *name; /* groups: NULL = no more */
    int open;                          /* parts of the name in the id: 1, 2 or 3 */
};
static const struct pattern patterns[] = {
    {"configs", ",\"name\":\"app-*\"", "default", {"default"}, "app-*", 1},
    {"configs", ",\"namespace\":\"*\",\"group\":\"*\",\"name\":\"*\"", "*", {"*"}, "*", 3},
    {"configs",
     ",\"namespace\":\"dev-*\",\"groups\":[\"g1\",\"g2\"],\"name\":\"*b\"",
     "dev-*",
     {"g1", "g2"},
     "*b",
     3},
    {"configs", ",\"group\":\"g*\",\"prefix\":\"app\"", "default", {"g*"}, "app*", 2},
    {"services", ",\"namespace\":\"*\",\"name\":\"*-*\"", "*", {"default"}, "*-*", 3},
    {"services", ",\"groups\":[\"g1\"],\"name\":\"web\"", "default", {"g1"}, "web", 1},
    {"services",
     ",\"namespace\":\"prod\",\"groups\":[\"default\",\"g2\"]",
     "prod",
     {"default", "g2"},
     "*",
     2},
    {"instances", ",\"name\":\"app-*\"", "default", {"default"}, "app-*", 1},
    {"instances", ",\"namespace\":\"d*\",\"group\":\"*\"", "d*", {"*"}, "*", 3},
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

static bool fits(const struct pattern *p, const struct place *at)
{
    bool is_in = false;
    for (size_t i = 0; i < 2 && p->groups[i]; i++)
        is_in |= fnmatch(p->groups[i], at->group, 0) == 0;
    return is_in && fnmatch(p->ns, at->ns, 0) == 0 && fnmatch(p->name, at->name, 0) == 0;
}

/* Counts what the view must have; false: it lacks one of them. */
static bool expects(const struct pattern *p, const struct stream_model *m, size_t *ret_count)
{
    bool is_right = true;
    *ret_count = 0;
    for (size_t i = 0; i < PLACES; i++) {
        const struct place *at = &places[i];
        char id[200], whole[220];
        if (!fits(p, at))
            continue;
        if (p->open == 1)
            snprintf(id, sizeof id, "%s", at->name);
        else if (p->open == 2)
            snprintf(id, sizeof id, "%s/%s", at->group, at->name);
        else
            snprintf(id, sizeof id, "%s/%s/%s", at->ns, at->group, at->name);
        bool exists =
            strcmp(p->kind, "configs") == 0 ? at->is_published : at->has_instance[0] || at->has_instance[1];
        for (int n = 0; strcmp(p->kind, "instances") == 0 && n < INSTANCES; n++) {
            snprintf(whole, sizeof whole, "%s/i%d", id, n);
            *ret_count += at->has_instance[n];
            is_right &= has(m, whole) == at->has_instance[n];
        }
        if (strcmp(p->kind, "instances") == 0)
            continue;
        *ret_count += exists;
        is_right &= has(m, id) == exists;
    }
    return is_right;
}

static bool is_equal(const struct pattern *p, const struct stream_model *m)
{
    size_t count;
    return expects(p, m, &count) && json_object_size(m->items) == count;
}

static void subscribe(struct stream_client *c, int sid, const struct pattern *p, int64_t from)
{
    char more[40] = "";
    if (from)
        snprintf(more, sizeof more, ",\"from_revision\":%d", (int)from);
    stream_client_subscribe(c, sid, p->kind, stream_text("%s%s", p->frame, more));
}

static void catch_up(struct stream_client *c, struct stream_model *models)
{
    for (size_t i = 0; i < PATTERNS; i++) {
        while (!models[i].items || !is_equal(&patterns[i], &models[i])) {
            const char *frame = stream_client_next(c);
            if (strstr(frame, "\"type\":\"error\""))
                fail_msg("%s", frame);
            for (size_t n = 0; n < PATTERNS; n++)
                stream_model_take(&models[n], frame);
        }
    }
}

static void change_one(void)
{
    struct place *at = &places[(size_t)rand() % PLACES];
    int which = rand() % 3;
    char path[200];
    if (which == 2) {
        snprintf(path, sizeof path, "%s/%s/%s", at->ns, at->group, at->name);
        if (at->is_published)
            stream_world_unpublish(&world, path);
        else
            stream_world_publish(&world, path, slice_text("x"));
        at->is_published = !at->is_published;
        return;
    }
    snprintf(path, sizeof path, "%s/%s/%s/i%d", at->ns, at->group, at->name, which);
    at->has_instance[which] = !at->has_instance[which];
    put(path, at->has_instance[which]);
}

static void test_model(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model models[PATTERNS] = {0};
    size_t reconnects = 0;
    srand(7);
    memset(places, 0, sizeof places);
    for (size_t i = 0; i < PLACES; i++) {
        places[i].ns = namespaces[i / 12];
        places[i].group = groups[i / 4 % 3];
        places[i].name = names[i % 4];
    }
    stream_client_hello(&c, &world, "");
    for (size_t i = 0; i < PATTERNS; i++) {
        models[i].sid = (uint32_t)i + 1;
        subscribe(&c, (int)i + 1, &patterns[i], 0);
    }
    for (int step = 0; step < 400; step++) {
        for (int n = rand() % 3; n >= 0; n--)
            change_one();
        if (rand() % 20 == 0) { /* it misses some changes, and resumes */
            catch_up(&c, models);
            stream_client_close(&c);
            change_one();
            change_one();
            stream_client_hello(&c, &world, "");
            for (size_t i = 0; i < PATTERNS; i++)
                subscribe(&c, (int)i + 1, &patterns[i], models[i].revision + 1);
            reconnects++;
        }
        catch_up(&c, models);
    }
    assert_true(reconnects > 5);
    for (size_t i = 0; i < PATTERNS; i++) {
        assert_int_equal(models[i].snapshots, 1); /* all the rest were deltas, whose chain held */
        assert_int_equal(models[i].resyncs, 0);
        assert_true(models[i].deltas > 5);
        stream_model_done(&models[i]);
    }
    stream_client_close(&c);
}

/* --- selectors --------------------------------------------------------------------------------------- */

static void test_selectors(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model services = {.sid = 1}, instances = {.sid = 2};
    one_node_put(&world.node, "/cairn/registry/services/default/default/pay",
                 "{\"metadata\":{\"team\":\"money\"}}", 0);
    stream_world_put(&world, "pay", "p1", "{\"host\":\"h\",\"port\":1,\"metadata\":{\"zone\":\"b\"}}");
    stream_world_put(&world, "pay", "p2", "{\"host\":\"h\",\"port\":2}");
    stream_world_put(&world, "web", "w1", "{\"host\":\"h\",\"port\":1,\"metadata\":{\"zone\":\"b\"}}");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "services",
                            ",\"name\":\"*\",\"filter\":{\"labels\":{\"team\":\"money\"}}");
    take(&c, &services);
    assert_int_equal(json_object_size(services.items), 1);
    assert_true(has(&services, "pay"));
    stream_client_subscribe(&c, 2, "instances", ",\"filter\":{\"labels\":{\"zone\":\"b\"}}");
    take(&c, &instances);
    assert_int_equal(json_object_size(instances.items), 2);
    json_t *one = json_object_get(instances.items, "web/w1");
    assert_string_equal(json_string_value(json_object_get(one, "service")), "web");
    assert_string_equal(json_string_value(json_object_get(one, "namespace")), "default");
    assert_string_equal(json_string_value(json_object_get(json_object_get(one, "instance"), "id")), "w1");
    /* The selector stops and begins to fit. */
    one_node_put(&world.node, "/cairn/registry/services/default/default/pay", "{}", 0);
    take(&c, &services);
    assert_int_equal(json_object_size(services.items), 0);
    one_node_put(&world.node, "/cairn/registry/services/default/default/web",
                 "{\"metadata\":{\"team\":\"money\"}}", 0);
    take(&c, &services);
    assert_true(has(&services, "web"));
    stream_model_done(&services);
    stream_model_done(&instances);
    stream_client_close(&c);
}

/* healthy=true by pattern: protection is that of each service. */
static void test_protected(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    one_node_put(&world.node, "/cairn/registry/services/default/default/orders",
                 "{\"protect_threshold\":0.5}", 0);
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    stream_world_put(&world, "orders", "o2", "{\"host\":\"h\",\"port\":1}");
    stream_world_put(&world, "web", "w1", "{\"host\":\"h\",\"port\":1,\"state\":\"down\"}");
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "instances", ",\"filter\":{\"healthy\":true}");
    take(&c, &m);
    assert_int_equal(json_object_size(m.items), 2);
    stream_world_put(&world, "orders", "o2", "{\"host\":\"h\",\"port\":1,\"state\":\"down\"}");
    take(&c, &m);
    assert_int_equal(json_object_size(m.items), 2);
    assert_true(json_is_true(json_object_get(json_object_get(m.items, "orders/o1"), "protected")));
    stream_world_put(&world, "orders", "o3", "{\"host\":\"h\",\"port\":1}");
    take(&c, &m);
    assert_int_equal(json_object_size(m.items), 2);
    assert_true(has(&m, "orders/o1") && has(&m, "orders/o3"));
    stream_model_done(&m);
    stream_client_close(&c);
}

/* --- frames that are refused ------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    struct stream_client c;
    static const struct {
        const char *kind, *more, *why;
    } list[] = {
        {"configs", ",\"name\":\"a*\",\"prefix\":\"a\"", "either a name or a prefix"},
        {"configs", ",\"group\":\"a\",\"groups\":[\"b\"]", "either group or groups"},
        {"configs", ",\"groups\":[]", "groups must be a list of 1 to 16"},
        {"configs", ",\"groups\":[\"a/b\"]", "groups holds a '/'"},
        {"configs", ",\"name\":\"a*\",\"filter\":{}", "configs takes no filter"},
        {"services", ",\"name\":\"*a*a*a*a*a*a*a*a*\"", "name has more than 8"},
        {"services", ",\"name\":\"*\\\\x\"", "a backslash before neither"},
        {"services", ",\"name\":\"*\",\"filter\":{\"healthy\":true}", "labels alone"},
        {"service", ",\"name\":\"a\",\"groups\":[\"b\"]", "groups belongs to"},
        {"config", ",\"name\":\"\"", "name is empty"},
    };
    stream_client_hello(&c, &world, "");
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        stream_client_subscribe(&c, (int)i + 1, list[i].kind, list[i].more);
        stream_client_expect_frame(&c, "error", list[i].why);
    }
    /* A name with a star in it is still the name of one service and of one configuration. */
    stream_world_publish(&world, "a*", slice_text("x"));
    stream_world_publish(&world, "ab", slice_text("x"));
    stream_client_subscribe(&c, 50, "config", ",\"name\":\"a*\"");
    stream_client_expect_frame(&c, "snapshot", "\"id\":\"a*\"");
    stream_client_subscribe(&c, 51, "configs", ",\"name\":\"a\\\\*\"");
    const char *frame = stream_client_expect_frame(&c, "snapshot", "\"id\":\"a*\"");
    assert_null(strstr(frame, "\"id\":\"ab\""));
    stream_client_close(&c);
}

/* --- absence ----------------------------------------------------------------------------------------- */

static void test_absent(void **state)
{
    (void)state;
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"late.yaml\"");
    stream_client_expect_frame(&c, "snapshot", "\"items\":[],\"absent\":true}");
    stream_world_publish(&world, "late.yaml", slice_text("a: 1\n"));
    assert_null(strstr(stream_client_expect_frame(&c, "delta", "\"id\":\"late.yaml\""), "absent"));
    stream_world_unpublish(&world, "late.yaml");
    stream_client_expect_frame(&c, "delta", "\"delete\":[\"late.yaml\"],\"absent\":true}");

    stream_client_subscribe(&c, 2, "service", ",\"name\":\"late\",\"filter\":{\"healthy\":true}");
    stream_client_expect_frame(&c, "snapshot", "\"items\":[],\"absent\":true}");
    /* It exists by its settings alone, then by an instance that the filter hides. */
    one_node_put(&world.node, "/cairn/registry/services/default/default/late", "{}", 0);
    stream_client_expect_frame(&c, "delta", "\"put\":[],\"delete\":[]}");
    stream_world_put(&world, "late", "l1", "{\"host\":\"h\",\"port\":1,\"state\":\"down\"}");
    assert_null(strstr(stream_client_expect_frame(&c, "delta", "\"delete\":[\"l1\"]"), "absent"));
    one_node_delete(&world.node, "/cairn/registry/services/default/default/late", NULL);
    stream_client_expect_nothing(&c); /* the instance is there still */
    stream_world_delete(&world, "late", "l1");
    stream_client_expect_frame(&c, "delta", "\"absent\":true}");
    stream_client_close(&c);
}

/* For a client whose gray release is a tombstone the configuration is absent. */
static void test_absent_gray(void **state)
{
    (void)state;
    struct stream_client gray, plain;
    stream_world_publish(&world, "a", slice_text("1"));
    stream_world_unpublish(&world, "a");
    stream_world_publish(&world, "a", slice_text("3"));
    stream_world_put_gray(&world, "a", "r", "{\"match\":{\"zone\":[\"b\"]},\"seq\":2}", NULL);
    stream_client_hello(&gray, &world, ",\"labels\":{\"zone\":\"b\"}");
    stream_client_hello(&plain, &world, "");
    stream_client_subscribe(&gray, 1, "config", ",\"name\":\"a\"");
    stream_client_expect_frame(&gray, "snapshot", "\"items\":[],\"absent\":true}");
    stream_client_subscribe(&plain, 1, "config", ",\"name\":\"a\"");
    assert_null(strstr(stream_client_expect_frame(&plain, "snapshot", "\"seq\":3"), "absent"));
    stream_client_close(&gray);
    stream_client_close(&plain);
}

/* --- rights ------------------------------------------------------------------------------------------ */

static void connect_as(struct stream_client *c, const char *user)
{
    stream_client_hello(c, &world, stream_text(",\"token\":\"%s\"", stream_world_token(&world, user)));
}

static const struct {
    const char *kind, *more, *mine, *other, *hidden; /* ids; hidden: of the other, in no frame */
} judged[] = {
    {"configs", ",\"namespace\":\"*\",\"group\":\"*\",\"name\":\"*\"", "default/default/app-a",
     "dev-1/g1/secret", "secret"},
    {"services", ",\"namespace\":\"*\",\"group\":\"*\",\"name\":\"*\"", "default/default/app-a",
     "dev-1/g1/secret", "secret"},
    {"instances", ",\"namespace\":\"*\",\"group\":\"*\"", "default/default/app-a/i1", "dev-1/g1/secret/i1",
     "secret"},
};

static void take_after_resync(struct stream_client *c, struct stream_model *m)
{
    stream_client_expect(c, stream_text("{\"type\":\"resync\",\"sid\":%u,\"reason\":\"rights\"}", m->sid));
    take(c, m);
}

static void test_rights(void **state)
{
    (void)state;
    static const char *const folders[] = {"/cairn/config/heads/", "/cairn/registry/instances/"};
    char prefix[100];
    for (size_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof prefix, "%sdefault/default/app-", folders[i]);
        stream_world_grant(&world, "bob", prefix, false);
    }
    stream_world_publish(&world, "app-a", slice_text("x"));
    stream_world_publish(&world, "dev-1/g1/secret", slice_text("x"));
    put("default/default/app-a/i1", true);
    put("dev-1/g1/secret/i1", true);
    for (size_t i = 0; i < COUNT_OF(judged); i++) {
        struct stream_client alice, bob;
        struct stream_model a = {.sid = 1}, b = {.sid = 1};
        connect_as(&alice, "alice"); /* without any right */
        connect_as(&bob, "bob");
        stream_client_subscribe(&alice, 1, judged[i].kind, judged[i].more);
        stream_client_subscribe(&bob, 1, judged[i].kind, judged[i].more);
        take(&alice, &a);
        take(&bob, &b);
        assert_int_equal(json_object_size(a.items), 0);
        assert_int_equal(json_object_size(b.items), 1);
        assert_true(has(&b, judged[i].mine));
        /* Items that it may not read change, come and go: no frame. */
        stream_world_publish(&world, "dev-1/g1/secret", slice_text(i % 2 ? "y" : "z"));
        put("dev-1/g1/secret/i2", true);
        put("dev-1/g1/secret/i2", false);
        stream_client_expect_nothing(&bob);
        stream_client_expect_nothing(&alice);
        /* More rights, then fewer, on the open connection. */
        for (size_t n = 0; n < 2; n++) {
            snprintf(prefix, sizeof prefix, "%sdev-1/", folders[n]);
            stream_world_grant(&world, "bob", prefix, false);
        }
        take_after_resync(&bob, &b);
        assert_true(has(&b, judged[i].mine) && has(&b, judged[i].other));
        put("dev-1/g1/secret/i2", true);
        stream_world_publish(&world, "dev-1/g1/secret", slice_text(i % 2 ? "z" : "y"));
        take(&bob, &b); /* one of them concerns it */
        put("dev-1/g1/secret/i2", false);
        for (size_t n = 0; n < 2; n++) {
            snprintf(prefix, sizeof prefix, "%sdev-1/", folders[n]);
            stream_world_revoke(&world, "bob", prefix);
        }
        for (;;) {
            const char *frame = stream_client_next(&bob);
            stream_model_take(&b, frame);
            if (strstr(frame, "snapshot") && !has(&b, judged[i].other))
                break;
        }
        assert_int_equal(json_object_size(b.items), 1);
        assert_null(strstr(buf_text(&bob.message), judged[i].hidden));
        stream_client_expect_nothing(&alice);
        stream_model_done(&a);
        stream_model_done(&b);
        stream_client_close(&alice);
        stream_client_close(&bob);
    }
}

/* A reader of a list needs the right to all of it, as before; a client without a user gets nothing. */
static void test_not_judged(void **state)
{
    (void)state;
    struct stream_client bob, nobody;
    connect_as(&bob, "bob");
    stream_client_subscribe(&bob, 1, "configs", ",\"prefix\":\"app-\"");
    stream_client_expect_frame(&bob, "error", "forbidden");
    stream_client_subscribe(&bob, 2, "services", "");
    stream_client_expect_frame(&bob, "error", "forbidden");
    stream_client_open(&nobody, &world, "");
    stream_client_say(&nobody, "{\"type\":\"hello\"}");
    stream_client_expect_frame(&nobody, "error", "invalid_auth_token");
    stream_client_close(&bob);
    stream_client_close(&nobody);
}

/* --- the poll for many configurations ------------------------------------------------------------------ */

static void ask_poll(struct stream_client *c, const char *user, const char *configs)
{
    const char *body = stream_text("{\"configs\":[%s]}", configs);
    stream_client_ask(
        c, &world,
        stream_text("POST /api/v1/polls?timeout=10m HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                    stream_world_token(&world, user), strlen(body), body));
}

static bool is_one_waiting(void *arg)
{
    (void)arg;
    return api_polled_waiting(world.api) == 1;
}

/* READ is needed on every name, when the poll comes and while it waits. */
static void test_poll_rights(void **state)
{
    (void)state;
    struct stream_client c;
    stream_world_grant(&world, "bob", "/cairn/config/heads/default/default/app-", false);
    stream_world_publish(&world, "app-a", slice_text("x"));
    ask_poll(&c, "bob", "{\"name\":\"app-a\"},{\"name\":\"secret\"}");
    assert_true(stream_client_has_text(&c, "HTTP/1.1 403 "));
    assert_true(stream_client_has_text(&c, "secret"));
    stream_client_close(&c);
    ask_poll(&c, "bob", "{\"name\":\"app-a\",\"seq\":1},{\"name\":\"app-b\"}");
    one_node_run(&world.node, is_one_waiting, NULL);
    stream_world_grant(&world, "bob", "/other/", false); /* its names are still readable */
    stream_world_run_ms(&world, 20);
    assert_true(is_one_waiting(NULL));
    stream_world_revoke(&world, "bob", "/cairn/config/heads/default/default/app-");
    assert_true(stream_client_has_text(&c, "HTTP/1.1 403 "));
    assert_int_equal(api_polled_waiting(world.api), 0);
    stream_client_close(&c);
}

#define TEST(fn)  cmocka_unit_test_setup_teardown(fn, open_world, close_world)
#define USERS(fn) cmocka_unit_test_setup_teardown(fn, open_users, close_world)

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(test_model),   TEST(test_selectors),   TEST(test_protected),
        TEST(test_refused), TEST(test_absent),      TEST(test_absent_gray),
        USERS(test_rights), USERS(test_not_judged), USERS(test_poll_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
