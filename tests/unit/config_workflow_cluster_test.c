/* SPDX-License-Identifier: Apache-2.0
 * Tests of scheduled publishes and rollouts on three members, on virtual time, while leaders die, are cut off
 * and come back, and their clocks differ: everything happens once, and no step goes back. */
#include "tests/unit/trio.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/config_node.h"

static int64_t skew_ms[TRIO]; /* of each member's wall clock */
static struct trio *present;
static const struct io_ops *original;

static uint64_t skewed_wall_ns(struct io *io)
{
    uint64_t ns = original->wall_ns(io);
    for (unsigned i = 0; present && i < TRIO; i++)
        if (present->world->machines[i].kv && kv_io(present->world->machines[i].kv) == io)
            return ns + (uint64_t)(skew_ms[i] * 1000000);
    return ns;
}

static void *open_module(struct kv *kv, const char *member)
{
    static struct io_ops ops;
    struct io *io = kv_io(kv);
    if (io->ops != &ops) {
        original = io->ops;
        ops = *io->ops;
        ops.wall_ns = skewed_wall_ns;
        io->ops = &ops;
    }
    return config_new(&(struct config_options){.kv = kv, .member = member});
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

static int setup(void **state)
{
    memset(skew_ms, 0, sizeof skew_ms);
    present = NULL;
    *state = present = trio_new(&kind);
    return 0;
}

static int teardown(void **state)
{
    trio_free(*state);
    present = NULL;
    return 0;
}

/* --- the cluster ---------------------------------------------------------------------------------------- */

static unsigned leader_of(struct trio *t)
{
    return trio_index(t, world_wait_for_leader(t->world));
}

static void crash(struct trio *t, unsigned i)
{
    trio_close(t, i);
    machine_crash(&t->world->machines[i]);
}

static void restart(struct trio *t, unsigned i)
{
    machine_start(&t->world->machines[i], false);
    trio_open(t, i);
    world_wait_for_leader(t->world);
    for (unsigned n = 0; n < 400 && !trio_is_ready(t); n++)
        world_run_ms(t->world, 50);
    assert_true(trio_is_ready(t));
}

static int64_t wall_ms(struct trio *t, unsigned i)
{
    struct io *io = kv_io(t->world->machines[i].kv);
    return (int64_t)(io->ops->wall_ns(io) / 1000000);
}

/* The feature under test changes the store through the leader; a member that runs has it after this. */
static void settle(struct trio *t, unsigned i)
{
    struct config_reply a = config_reply();
    for (unsigned n = 0; n < 50; n++) {
        a = config_reply();
        config_barrier(t->modules[i], &a.request);
        trio_wait(t, &a.is_done);
        if (a.err == OK)
            break;
        world_run_ms(t->world, 100); /* the leader has just changed */
    }
    assert_int_equal(a.err, OK);
}

static struct config_reply publish(struct trio *t, unsigned i, const char *name, const char *content)
{
    struct config_reply a = config_reply();
    config_publish(t->modules[i], &a.request,
                   &(struct config_publish){.key = config_id_of(name), .content = slice_text(content)});
    trio_wait(t, &a.is_done);
    assert_int_equal(a.err, OK);
    return a;
}

static void schedule(struct trio *t, unsigned i, const char *name, const char *content, int64_t at_ms)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_put_draft(t->modules[i], &a.request,
                     &(struct config_publish){.key = key, .content = slice_text(content)});
    trio_wait(t, &a.is_done);
    assert_int_equal(a.err, OK);
    a = config_reply();
    config_schedule_draft(t->modules[i], &a.request, &key, at_ms, (struct slice){0}, (struct slice){0}, NULL);
    trio_wait(t, &a.is_done);
    assert_int_equal(a.err, OK);
}

static void start_rollout(struct trio *t, unsigned i, const char *name, const char *text)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    struct workflow_rollout_request q;
    struct arena arena = {0};
    char error[200];
    int err = workflow_rollout_request_read(slice_text(text), &arena, &q, error, sizeof error);
    assert_int_equal(err, OK);
    config_start_rollout(t->modules[i], &a.request, &key, &q, NULL);
    trio_wait(t, &a.is_done);
    assert_int_equal(a.err, OK);
    arena_done(&arena);
}

static const struct config_head *head_of(struct trio *t, unsigned i, const char *name)
{
    struct config_id key = config_id_of(name);
    const struct config_item *item = config_find(t->modules[i], &key);
    assert_non_null(item);
    return item->head;
}

static void assert_content(struct trio *t, unsigned i, const char *name, const char *text)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_read(t->modules[i], &a.request, &key, 0, false);
    trio_wait(t, &a.is_done);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, text);
}

static bool document_holds(struct trio *t, unsigned i, enum config_key key_kind, const char *name,
                           const char *part)
{
    struct config_id id = config_id_of(name);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    struct buf key = {0};
    char text[2000] = "";
    config_name_add_key(&key, &(struct config_name){key_kind, id.ns, id.group, id.name, 0});
    m.key = (ProtobufCBinaryData){key.size, key.data};
    int err = kv_range_now(t->world->machines[i].kv, &m, &a, &response);
    assert_int_equal(err, OK);
    if (response->n_kvs)
        snprintf(text, sizeof text, "%.*s", (int)response->kvs[0]->value.len,
                 (char *)response->kvs[0]->value.data);
    buf_done(&key);
    arena_done(&a);
    return part ? strstr(text, part) != NULL : !*text;
}

static void await_document(struct trio *t, unsigned i, enum config_key key_kind, const char *name,
                           const char *part)
{
    for (unsigned n = 0; n < 6000 && !document_holds(t, i, key_kind, name, part); n++)
        world_run_ms(t->world, 10);
    if (!document_holds(t, i, key_kind, name, part))
        fail_msg("the document of %s does not hold %s", name, part ? part : "nothing");
    settle(t, i);
}

/* --- scheduled publishes -------------------------------------------------------------------------------- */

/* The leader dies at many moments around the time: 3 s before to 600 ms after it. */
static void test_schedule_leader_dies(void **state)
{
    struct trio *t = *state;
    for (int round = 0; round < 16; round++) {
        char name[16], text[16];
        unsigned leader = leader_of(t), other = (leader + 1) % TRIO;
        int64_t at = wall_ms(t, leader) + 4000,
                dies = at + (round < 4 ? -3000 + round * 900 : round * 40 - 80);
        snprintf(name, sizeof name, "a%d.txt", round);
        snprintf(text, sizeof text, "%d", round);
        publish(t, other, name, "before");
        schedule(t, other, name, text, at);
        while (wall_ms(t, other) < dies)
            world_step(t->world);
        crash(t, leader);
        await_document(t, other, CONFIG_SCHEDULE, name, NULL);
        restart(t, leader);
        world_run_ms(t->world, 3000);
        settle(t, leader);
        assert_int_equal(head_of(t, leader, name)->seq, 2);
        assert_int_equal(head_of(t, leader, name)->last_seq, 2);
        assert_content(t, other, name, text);
    }
}

/* The old leader is cut off when the time comes, with a transaction under way perhaps, and comes back. */
static void test_schedule_leader_cut_off(void **state)
{
    struct trio *t = *state;
    for (int round = 0; round < 8; round++) {
        char name[16];
        unsigned leader = leader_of(t), other = (leader + 1) % TRIO;
        int64_t at = wall_ms(t, leader) + 2000;
        snprintf(name, sizeof name, "a%d.txt", round);
        publish(t, other, name, "before");
        schedule(t, other, name, "after", at);
        while (wall_ms(t, other) < at + round * 2 - 6)
            world_step(t->world);
        t->world->machines[leader].is_cut = true;
        await_document(t, other, CONFIG_SCHEDULE, name, NULL);
        t->world->machines[leader].is_cut = false;
        world_run_ms(t->world, 10000);
        settle(t, leader);
        assert_int_equal(head_of(t, leader, name)->last_seq, 2);
        assert_content(t, leader, name, "after");
    }
}

/* Every member's clock is another one. Nothing is done before the leader's clock says so, and nothing twice. */
static void test_schedule_clocks(void **state)
{
    struct trio *t = *state;
    unsigned leader = leader_of(t), one = (leader + 1) % TRIO, two = (leader + 2) % TRIO;
    skew_ms[one] = 3600000;
    skew_ms[two] = -3600000;
    publish(t, one, "a.txt", "1");
    schedule(t, one, "a.txt", "2", wall_ms(t, leader) + 60000);
    world_run_ms(t->world, 20000); /* a member whose clock is an hour ahead does not lead */
    settle(t, one);
    assert_int_equal(head_of(t, one, "a.txt")->seq, 1);
    crash(t, leader);
    unsigned next = leader_of(t);
    if (next == two) {
        world_run_ms(t->world, 60000);
        assert_int_equal(head_of(t, next, "a.txt")->seq, 1); /* its clock is behind */
        skew_ms[two] = 0;                                    /* until it is set */
    }
    await_document(t, next, CONFIG_SCHEDULE, "a.txt", NULL);
    restart(t, leader);
    world_run_ms(t->world, 5000);
    settle(t, leader);
    assert_int_equal(head_of(t, leader, "a.txt")->last_seq, 2);
}

/* All members stop before the time, and start after it. */
static void test_schedule_restart(void **state)
{
    struct trio *t = *state;
    publish(t, 0, "a.txt", "1");
    schedule(t, 0, "a.txt", "2", wall_ms(t, 0) + 5000);
    schedule(t, 0, "new.txt", "3", wall_ms(t, 0) + 5000);
    crash(t, 0);
    crash(t, 1);
    world_run_ms(t->world, 20000); /* the time comes while there is no quorum */
    assert_int_equal(head_of(t, 2, "a.txt")->seq, 1);
    crash(t, 2);
    for (unsigned i = 0; i < TRIO; i++) {
        machine_start(&t->world->machines[i], false);
        trio_open(t, i);
    }
    await_document(t, leader_of(t), CONFIG_SCHEDULE, "a.txt", NULL);
    await_document(t, leader_of(t), CONFIG_SCHEDULE, "new.txt", NULL);
    settle(t, 1);
    assert_int_equal(head_of(t, 1, "a.txt")->last_seq, 2);
    assert_int_equal(head_of(t, 1, "new.txt")->last_seq, 1);
}

/* --- rollouts ------------------------------------------------------------------------------------------- */

#define STEPS                                                                                                \
    "\"steps\":[{\"percent\":5,\"for\":\"3s\"},{\"percent\":20,\"for\":\"3s\"},{\"percent\":60,\"for\":"     \
    "\"3s\"},{\"percent\":100,\"for\":\"3s\"}]"

/* The percentage that a member shows; 101 = the release is live. */
static unsigned percent_of(struct trio *t, unsigned i, const char *name)
{
    const struct config_head *head = head_of(t, i, name);
    return head->gray.count ? head->gray.list[0].percent : head->seq == 3 ? 101 : 0;
}

/* Runs until the rollout has ended. On the way no member ever shows a smaller percentage than before, and a
 * step lasts its time at least. Every `each_ms` the leader is crashed (or cut off) and comes back. */
static void run_rollout(struct trio *t, const char *name, uint64_t each_ms, bool is_cut)
{
    unsigned seen[TRIO] = {0}, away = TRIO, most = 0;
    uint64_t began_ms = t->world->clock.now_ns / 1000000, last_ms = began_ms, changes = 0;
    for (uint64_t ms = 0; ms < 120000; ms += 10) {
        world_run_ms(t->world, 10);
        for (unsigned i = 0; i < TRIO; i++) {
            if (!t->modules[i] || !config_is_ready(t->modules[i]))
                continue;
            unsigned percent = percent_of(t, i, name);
            assert_true(percent >= seen[i]);
            seen[i] = percent;
            if (percent > most) {
                uint64_t now_ms = t->world->clock.now_ns / 1000000;
                assert_true(most == 0 || now_ms - last_ms >= 2900); /* the members' views differ by some ms */
                last_ms = now_ms;
                most = percent;
                changes++;
            }
        }
        if (most == 101)
            break;
        if (each_ms && ms % each_ms == each_ms - 10 && away == TRIO) {
            struct machine *leader = world_leader(t->world);
            away = leader ? trio_index(t, leader) : TRIO;
            if (away < TRIO && is_cut)
                leader->is_cut = true;
            else if (away < TRIO)
                crash(t, away);
        } else if (away < TRIO && ms % each_ms == each_ms / 2) {
            if (is_cut) {
                t->world->machines[away].is_cut = false;
            } else {
                machine_start(&t->world->machines[away], false);
                trio_open(t, away);
                seen[away] = 0;
            }
            away = TRIO;
        }
    }
    assert_int_equal(most, 101);
    assert_int_equal(changes, 5);
    if (away < TRIO && is_cut)
        t->world->machines[away].is_cut = false;
    else if (away < TRIO)
        restart(t, away);
    world_wait_for_leader(t->world);
    world_run_ms(t->world, 10000);
    for (unsigned i = 0; i < TRIO; i++) {
        settle(t, i);
        assert_int_equal(head_of(t, i, name)->last_seq, 3);
        assert_true(document_holds(t, i, CONFIG_ROLLOUT, name, "\"state\":\"promoted\""));
        assert_content(t, i, name, "new");
    }
}

static void test_rollout(void **state)
{
    struct trio *t = *state;
    publish(t, 0, "a.txt", "old");
    start_rollout(t, 1, "a.txt", "{\"content\":\"new\"," STEPS "}");
    run_rollout(t, "a.txt", 0, false);
}

/* Steps of 3 s, and leaders that die at intervals which fall on every part of a step. */
static void test_rollout_leaders_die(void **state)
{
    static const uint64_t intervals[] = {2900, 3000, 3040, 3500, 4400};
    struct trio *t = *state;
    for (unsigned n = 0; n < sizeof intervals / sizeof *intervals; n++) {
        char name[16];
        snprintf(name, sizeof name, "a%u.txt", n);
        publish(t, 0, name, "old");
        start_rollout(t, 1, name, "{\"content\":\"new\",\"abort_if\":{\"rejected_over\":0}," STEPS "}");
        run_rollout(t, name, intervals[n], n % 2);
    }
}

/* A new leader whose clock is an hour behind goes on after one step's time. */
static void test_rollout_clocks(void **state)
{
    struct trio *t = *state;
    unsigned leader = leader_of(t);
    for (unsigned i = 0; i < TRIO; i++)
        skew_ms[i] = i == leader ? 3600000 : 0;
    publish(t, 0, "a.txt", "old");
    start_rollout(t, leader, "a.txt", "{\"content\":\"new\"," STEPS "}");
    world_run_ms(t->world, 1000);
    crash(t, leader);
    unsigned next = leader_of(t);
    await_document(t, next, CONFIG_ROLLOUT, "a.txt", "\"state\":\"promoted\"");
    restart(t, leader);
}

static void on_watch(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    (void)w;
    (void)item;
    (void)key;
}

/* A client on a member that does not lead rejects the release: its rule is gone soon, long before the step is
 * over, and the live release stays. */
static void test_rejections(void **state)
{
    struct trio *t = *state;
    unsigned leader = leader_of(t), other = (leader + 1) % TRIO;
    struct config_subscriber subscriber = {
        .client_id = slice_text("c"), .peer = "10.0.0.1:5", .transport = "websocket"};
    struct config_watch watch = {.changed = on_watch, .subscriber = &subscriber};
    struct config_id key = config_id_of("a.txt");
    publish(t, 0, "a.txt", "old");
    config_watch(t->modules[other], &watch, &key, false);
    start_rollout(
        t, other, "a.txt",
        "{\"content\":\"new\",\"abort_if\":{\"rejected_over\":0.1},\"steps\":[{\"percent\":100,\"for\":"
        "\"24h\"}]}");
    config_applied(&watch, &key, 2, false, slice_text("unknown option"));
    await_document(t, other, CONFIG_ROLLOUT, "a.txt", "\"state\":\"aborted\"");
    assert_true(document_holds(t, other, CONFIG_ROLLOUT, "a.txt", "1 of 1 clients"));
    assert_int_equal(head_of(t, other, "a.txt")->gray.count, 0);
    assert_int_equal(head_of(t, other, "a.txt")->seq, 1);
    config_unwatch(&watch);
}

/* The leader dies while the rollout waits; a rejection that it never saw is seen by the next one. */
static void test_rejections_leader_dies(void **state)
{
    struct trio *t = *state;
    unsigned leader = leader_of(t), other = (leader + 1) % TRIO;
    struct config_subscriber subscriber = {
        .client_id = slice_text("c"), .peer = "10.0.0.1:5", .transport = "websocket"};
    struct config_watch watch = {.changed = on_watch, .subscriber = &subscriber};
    struct config_id key = config_id_of("a.txt");
    publish(t, 0, "a.txt", "old");
    config_watch(t->modules[other], &watch, &key, false);
    start_rollout(
        t, other, "a.txt",
        "{\"content\":\"new\",\"abort_if\":{\"rejected_over\":0.1},\"steps\":[{\"percent\":100,\"for\":"
        "\"24h\"}]}");
    crash(t, leader);
    config_applied(&watch, &key, 2, false, slice_text("unknown option"));
    world_wait_for_leader(t->world);
    await_document(t, other, CONFIG_ROLLOUT, "a.txt", "\"state\":\"aborted\"");
    config_unwatch(&watch);
    restart(t, leader);
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_schedule_leader_dies),
        WITH(test_schedule_leader_cut_off),
        WITH(test_schedule_clocks),
        WITH(test_schedule_restart),
        WITH(test_rollout),
        WITH(test_rollout_leaders_die),
        WITH(test_rollout_clocks),
        WITH(test_rejections),
        WITH(test_rejections_leader_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
