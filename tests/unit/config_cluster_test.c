/* SPDX-License-Identifier: Apache-2.0
 * Tests of the config center on three members, on virtual time. A release that is published through one
 * member is read through the others at once. Every member notifies its own watchers. The list of listeners
 * covers all members. The leader's death loses nothing, and retention runs on one member only. */
#include "tests/unit/trio.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/config_node.h"

static void *open_module(struct kv *kv, const char *member)
{
    struct config_options o = {.kv = kv, .member = member, .releases_kept = 4, .releases_kept_s = 10};
    return config_new(&o);
}

static void close_module(void *module)
{
    config_free(module);
}

static void turn(void *module)
{
    config_turn(module);
}

static bool is_ready(const void *module)
{
    return config_is_ready(module);
}

static const struct trio_kind kind = {open_module, close_module, turn, is_ready};

static struct config *at(const struct trio *t, unsigned i)
{
    return t->modules[i];
}

static int setup(void **state)
{
    *state = trio_new(&kind);
    return 0;
}

static int teardown(void **state)
{
    trio_free(*state);
    return 0;
}

static void wait(struct trio *t, const struct config_reply *a)
{
    trio_wait(t, &a->is_done);
}

static struct config_reply publish(struct trio *t, unsigned i, const char *name, const char *content)
{
    struct config_reply a = config_reply();
    config_publish(at(t, i), &a.request,
                   &(struct config_publish){.key = config_id_of(name), .content = slice_text(content)});
    wait(t, &a);
    return a;
}

static struct config_reply read_release(struct trio *t, unsigned i, const char *name, uint64_t seq)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_read(at(t, i), &a.request, &key, seq, false);
    wait(t, &a);
    return a;
}

/* Each publish goes through another member than the previous one, and is readable on all members at once. */
static void test_read_everywhere(void **state)
{
    struct trio *t = *state;
    char text[16];
    for (unsigned n = 1; n <= 30; n++) {
        snprintf(text, sizeof text, "v%u", n);
        struct config_reply a = publish(t, n % 3, "a", text);
        assert_int_equal(a.err, OK);
        assert_int_equal(a.result.seq, n);
        struct config_id key = config_id_of("a");
        assert_int_equal(config_find(at(t, n % 3), &key)->head->seq, n); /* its own writer, no barrier */
        for (unsigned i = 0; i < 3; i++)
            assert_string_equal(read_release(t, i, "a", 0).text, text);
    }
}

/* From outdated views, on all three at once: one wins a condition, and each seq is given once. */
static void test_races(void **state)
{
    struct trio *t = *state;
    publish(t, 0, "a", "0");
    for (unsigned round = 0; round < 10; round++) {
        struct config_reply a[3];
        char text[3][16];
        uint64_t seq = read_release(t, 0, "a", 0).result.seq;
        unsigned won = 0;
        for (unsigned i = 0; i < 3; i++) {
            snprintf(text[i], sizeof text[i], "%u-%u", round, i);
            a[i] = config_reply();
            config_publish(at(t, i), &a[i].request,
                           &(struct config_publish){.key = config_id_of("a"),
                                                    .content = slice_text(text[i]),
                                                    .condition = {.has_seq = true, .if_seq = seq}});
        }
        for (unsigned i = 0; i < 3; i++) {
            wait(t, &a[i]);
            won += a[i].err == OK;
            if (a[i].err) {
                assert_int_equal(a[i].err, ERR_PRECONDITION);
                assert_int_equal(a[i].head.seq, seq + 1);
            }
        }
        assert_int_equal(won, 1);
    }
}

struct watching {
    struct config_watch watch;
    struct config_subscriber subscriber;
    char peer[32];
    uint64_t seen;
};

static void on_watch(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    struct watching *x = container_of(w, struct watching, watch);
    x->seen = item ? item->head->seq : 0;
    config_sent(w, key, x->seen);
}

static void watch(struct trio *t, unsigned i, struct watching *x, const char *name, bool is_prefix,
                  const char *client, const struct document_pair *label)
{
    struct config_id key = config_id_of(name);
    *x = (struct watching){.watch = {.changed = on_watch}};
    x->subscriber = (struct config_subscriber){
        .client_id = slice_text(client), .peer = x->peer, .transport = "websocket", .labels = {NULL, 0}};
    snprintf(x->peer, sizeof x->peer, "10.0.0.%u:5", i + 1);
    if (label) {
        x->subscriber.labels.count = 1;
        memcpy(&x->subscriber.labels.list, &label, sizeof label);
    }
    x->watch.subscriber = &x->subscriber;
    config_watch(at(t, i), &x->watch, &key, is_prefix);
}

struct listing {
    struct config_listeners l;
    struct config_reply *asked;
    char text[1024];
    bool is_done;
    int err;
};

static void on_seen(struct config_listeners *l, const struct config_listener *s)
{
    struct listing *x = container_of(l, struct listing, l);
    size_t at = strlen(x->text);
    snprintf(x->text + at, sizeof x->text - at, "%.*s@%.*s %llu/%llu/%llu/%llu%s%.*s; ",
             (int)s->client_id.size, (const char *)s->client_id.data, (int)s->member.size,
             (const char *)s->member.data, (unsigned long long)s->chosen, (unsigned long long)s->sent,
             (unsigned long long)s->applied, (unsigned long long)s->rejected, s->error.size ? " " : "",
             (int)s->error.size, (const char *)s->error.data);
    assert_true(s->since_ms > 0);
}

static void on_listed(struct config_request *q, int err, const struct config_result *result)
{
    struct listing *x = container_of(q, struct listing, l.request);
    (void)result;
    x->is_done = true;
    x->err = err;
}

static void list(struct trio *t, unsigned i, struct listing *x, const char *name)
{
    struct config_id key = config_id_of(name);
    *x = (struct listing){.l = {.request = {.done = on_listed}, .on_listener = on_seen}};
    config_listeners(at(t, i), &x->l, &key);
    uint64_t until = t->world->clock.now_ns + 60000000000;
    while (!x->is_done && t->world->clock.now_ns < until)
        world_step(t->world);
    assert_true(x->is_done);
    assert_int_equal(x->err, OK);
}

static void assert_listed(const struct listing *x, const char *text)
{
    if (!strstr(x->text, text))
        fail_msg("%s is not in: %s", text, x->text);
}

static void settle(struct trio *t, unsigned i)
{
    struct config_reply a = config_reply();
    config_barrier(at(t, i), &a.request);
    wait(t, &a);
    assert_int_equal(a.err, OK);
}

static void test_listeners(void **state)
{
    struct trio *t = *state;
    struct watching x[3];
    struct listing l;
    struct document_pair zone = {slice_text("zone"), slice_text("b")};
    struct config_id key = config_id_of("a");
    watch(t, 0, &x[0], "a", false, "one", NULL);
    watch(t, 1, &x[1], "", true, "two", &zone);
    watch(t, 2, &x[2], "a", false, "three", NULL);
    publish(t, 0, "a", "1");
    for (unsigned i = 0; i < 3; i++)
        settle(t, i);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(x[i].seen, 1);
    config_applied(&x[0].watch, &key, 1, true, (struct slice){0});
    config_applied(&x[2].watch, &key, 1, false, slice_text("no such port"));
    struct config_reply a = config_reply();
    struct document_pair pair = zone;
    struct slice value = pair.value;
    struct gray_label label = {pair.key, &value, 1};
    struct gray_rule rule = {.name = slice_text("r"), .labels = &label, .label_count = 1, .percent = 100};
    struct slice content = slice_text("gray");
    config_put_gray(at(t, 1), &a.request, &key, &rule, &content, NULL);
    wait(t, &a);
    assert_int_equal(a.err, OK);
    for (unsigned i = 0; i < 3; i++) {
        list(t, i, &l, "a");
        assert_int_equal(l.l.members_silent, 0);
        assert_listed(&l, "one@m0 1/1/1/0; ");
        assert_listed(&l, "two@m1 2/1/0/0; ");
        assert_listed(&l, "three@m2 1/1/0/1 no such port; ");
    }
    /* The client takes the next release: the rejected one is over. */
    config_applied(&x[2].watch, &key, 1, true, (struct slice){0});
    struct config_id unknown = config_id_of("nothing");
    config_applied(&x[1].watch, &unknown, 1, true, (struct slice){0});
    assert_int_equal(x[1].watch.states.count, 1); /* a client cannot make us remember names */
    list(t, 0, &l, "a");
    assert_listed(&l, "three@m2 1/1/1/0; ");
    list(t, 0, &l, "nothing");
    assert_string_equal(l.text, "two@m1 0/0/0/0; ");
    /* A member that cannot be reached is silent. */
    unsigned cut = trio_index(t, world_follower(t->world));
    t->world->machines[cut].is_cut = true;
    world_run_ms(t->world, 500);
    list(t, (cut + 1) % 3, &l, "a");
    assert_int_equal(l.l.members_silent, 1);
    t->world->machines[cut].is_cut = false;
    for (unsigned i = 0; i < 3; i++)
        config_unwatch(&x[i].watch);
}

/* Publishes continue after a change of the leader; watchers on the other members miss nothing. */
static void test_leader_dies(void **state)
{
    struct trio *t = *state;
    struct machine *leader = world_leader(t->world);
    unsigned dead = trio_index(t, leader), one = (dead + 1) % 3, two = (dead + 2) % 3;
    struct watching x;
    watch(t, one, &x, "a", false, "c", NULL);
    publish(t, dead, "a", "1");
    trio_close(t, dead);
    machine_crash(leader);
    struct config_reply a = config_reply();
    for (unsigned n = 0; n < 50; n++) {
        a = publish(t, two, "a", "2");
        if (a.err == OK)
            break;
        world_run_ms(t->world, 200);
    }
    assert_int_equal(a.err, OK);
    assert_int_equal(read_release(t, one, "a", 0).result.seq, 2);
    settle(t, one);
    assert_int_equal(x.seen, 2);
    config_unwatch(&x.watch);
}

/* A member is cut off, and no write through it is answered. Writes of one configuration that wait for the
 * first do not wait for each other: all of them end after twice the time of one. */
static void test_unanswered(void **state)
{
    enum { WRITES = 6 };
    struct trio *t = *state;
    struct machine *leader = world_leader(t->world);
    unsigned cut = trio_index(t, leader);
    struct config_reply a[WRITES];
    char text[8];
    publish(t, cut, "a", "1");
    leader->is_cut = true;
    for (unsigned i = 0; i < WRITES; i++) {
        struct config_publish p = {.key = config_id_of("a"), .content = slice_text(text)};
        snprintf(text, sizeof text, "%u", i + 2);
        a[i] = config_reply();
        config_publish(at(t, cut), &a[i].request, &p);
    }
    uint64_t took_ms = 0;
    for (; !a[0].is_done; took_ms += 100)
        world_run_ms(t->world, 100);
    assert_int_not_equal(a[0].err, OK);
    world_run_ms(t->world, took_ms + 1000);
    for (unsigned i = 1; i < WRITES; i++) {
        assert_true(a[i].is_done);
        assert_int_not_equal(a[i].err, OK);
    }
    leader->is_cut = false;
    world_run_ms(t->world, 5000);
    struct config_reply last = config_reply();
    for (unsigned n = 0; n < 50; n++) {
        last = publish(t, cut, "a", "last");
        if (last.err == OK)
            break;
        world_run_ms(t->world, 200);
    }
    assert_int_equal(last.err, OK);
}

static size_t count_releases(struct trio *t, unsigned i, uint64_t last)
{
    size_t count = 0;
    for (uint64_t seq = 1; seq <= last; seq++)
        count += read_release(t, i, "a", seq).err == OK;
    return count;
}

/* The present leader runs retention. */
static void test_retention(void **state)
{
    struct trio *t = *state;
    char text[16];
    for (unsigned n = 1; n <= 12; n++) {
        snprintf(text, sizeof text, "%u", n);
        publish(t, n % 3, "a", text);
    }
    world_run_ms(t->world, 5000);
    assert_int_equal(count_releases(t, 0, 12), 12); /* young */
    struct machine *leader = world_leader(t->world);
    unsigned dead = trio_index(t, leader);
    double collected = metric_get(METRIC_CONFIG_COLLECTED);
    trio_close(t, dead);
    machine_crash(leader);
    world_wait_for_leader(t->world);
    world_run_ms(t->world, 30000);
    assert_int_equal(metric_get(METRIC_CONFIG_COLLECTED) - collected, 8); /* by one of the two */
    assert_int_equal(count_releases(t, (dead + 1) % 3, 12), 4);
    assert_string_equal(read_release(t, (dead + 2) % 3, "a", 0).text, "12");
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_read_everywhere), WITH(test_races),     WITH(test_listeners),
        WITH(test_leader_dies),     WITH(test_retention), WITH(test_unanswered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
