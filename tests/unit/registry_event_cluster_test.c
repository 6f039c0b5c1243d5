/* SPDX-License-Identifier: Apache-2.0
 * Events of services on three members, on virtual time: each change is stored exactly once, in order, whenever the
 * leader is cut off or dies; two members that believe to lead do not overwrite each other. */
#include "tests/unit/registry_trio.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/registry_node.h"

/* Runs on a member right before and after the turn of its registry. */
static struct {
    void (*before)(void *module, void *arg);
    void (*after)(void *module, void *arg);
    void *arg;
} hook;

static void *open_module(struct kv *kv, const char *member)
{
    const struct registry_options o = {.kv = kv, .member = member, .has_events = true};
    return registry_new(&o);
}

static void turn(void *module)
{
    if (hook.before)
        hook.before(module, hook.arg);
    registry_turn(module);
    if (hook.after)
        hook.after(module, hook.arg);
}

static const struct trio_kind kind = {open_module, registry_trio_close, turn, registry_trio_is_ready};

static int setup(void **state)
{
    *state = trio_new(&kind);
    return 0;
}

static int teardown(void **state)
{
    memset(&hook, 0, sizeof hook);
    trio_free(*state);
    return 0;
}

/* --- changes, and what is stored of them ------------------------------------------------------------------ */

enum { CHANGES_MAX = 400 };
static int64_t changes[CHANGES_MAX]; /* the revisions of the changes that were applied */
static size_t change_count;
static unsigned number;

/* A member that runs and is not cut off, another one each time. */
static unsigned any(const struct trio *t)
{
    static unsigned i;
    do
        i = (i + 1) % TRIO;
    while (!t->modules[i] || t->world->machines[i].is_cut || !registry_trio_is_ready(t->modules[i]));
    return i;
}

static int64_t settings_revision(void *module)
{
    const struct catalog_service *s = catalog_find(registry_catalog(module), slice_text("default"),
                                                   slice_text("default"), slice_text("web"));
    return s ? s->settings_revision : 0;
}

/* One change of the service. A write whose outcome is not known is looked for. */
static void change(struct trio *t)
{
    struct settings doc = {.protect_threshold = ++number / 10000.0};
    const struct registry_key key = registry_key_of("web", NULL);
    for (int n = 0; n < 100; n++) {
        unsigned i = any(t);
        struct registry_reply a = {.request.done = registry_reply_done};
        struct registry_reply barrier = {.request.done = registry_reply_done};
        registry_put_settings(t->modules[i], &a.request, &key, &doc);
        trio_wait(t, &a.is_done);
        registry_barrier(t->modules[i], &barrier.request);
        trio_wait(t, &barrier.is_done);
        int64_t revision = settings_revision(t->modules[i]);
        if (barrier.err || !revision || (change_count && revision == changes[change_count - 1]))
            continue;
        assert_true(change_count < CHANGES_MAX);
        changes[change_count++] = revision;
        return;
    }
    fail();
}

static struct {
    int64_t list[2 * EVENTS_KEPT];
    size_t count;
} found;

static void on_event(void *arg, const struct event *e)
{
    (void)arg;
    assert_int_equal(e->cause, EVENT_SETTINGS_CHANGED);
    found.list[found.count++] = e->revision;
}

static void read_events(struct trio *t, unsigned i)
{
    const struct registry_key key = registry_key_of("web", NULL);
    found.count = 0;
    assert_int_equal(registry_events(t->modules[i], &key, on_event, NULL), OK);
}

/* All members have exactly the last changes, newest first. */
static void expect_all(struct trio *t)
{
    size_t wanted = change_count < EVENTS_KEPT ? change_count : EVENTS_KEPT;
    for (int n = 0; n < 100; n++) {
        world_run_ms(t->world, 100);
        read_events(t, any(t));
        if (found.count == wanted && found.list[0] == changes[change_count - 1])
            break;
    }
    world_run_ms(t->world, 1000); /* nothing comes twice */
    for (unsigned i = 0; i < TRIO; i++) {
        read_events(t, i);
        assert_int_equal(found.count, wanted);
        for (size_t k = 0; k < wanted; k++)
            assert_int_equal(found.list[k], changes[change_count - 1 - k]);
    }
}

static void begin(void)
{
    change_count = 0;
    number = 0;
}

static void test_followers_too(void **state)
{
    struct trio *t = *state;
    begin();
    for (int i = 0; i < 130; i++) {
        change(t);
        world_run_ms(t->world, i % 7 * 100);
    }
    expect_all(t);
}

/* The leader is cut off at every moment of the life of an event, and comes back as a follower. */
static void test_leader_is_cut(void **state)
{
    struct trio *t = *state;
    begin();
    for (unsigned delay_ms = 0; delay_ms < 1200; delay_ms += 40) {
        change(t);
        change(t);
        world_run_ms(t->world, delay_ms);
        struct machine *m = world_wait_for_leader(t->world);
        m->is_cut = true;
        change(t);
        world_run_ms(t->world, delay_ms / 3);
        change(t);
        m->is_cut = false;
        world_run_ms(t->world, 10);
        change(t);
    }
    expect_all(t);
}

/* The leader dies at every moment of the life of an event. The two others know what it has not stored. */
static void test_leader_dies(void **state)
{
    struct trio *t = *state;
    begin();
    for (unsigned delay_ms = 0; delay_ms < 800; delay_ms += 50) {
        change(t);
        change(t);
        world_run_ms(t->world, delay_ms);
        struct machine *m = world_wait_for_leader(t->world);
        unsigned i = trio_index(t, m);
        trio_close(t, i);
        machine_crash(m);
        change(t);
        world_run_ms(t->world, 3000);
        machine_start(m, false);
        trio_open(t, i);
        for (unsigned n = 0; n < 400 && !trio_is_ready(t); n++)
            world_run_ms(t->world, 50);
        change(t);
    }
    expect_all(t);
    world_expect_equal_stores(t->world);
}

/* The events of a service that does not exist are deleted after a day, those of one that exists are not. */
static void test_gone_service(void **state)
{
    struct trio *t = *state;
    const struct registry_key gone = registry_key_of("gone", NULL);
    const struct settings doc = {.protect_threshold = 0.5};
    int err;
    begin();
    change(t); /* of another one, which stays */
    for (int i = 0; i < 2; i++) {
        struct registry_reply a = {.request.done = registry_reply_done};
        registry_put_settings(t->modules[0], &a.request, &gone, i ? NULL : &doc);
        trio_wait(t, &a.is_done);
        assert_int_equal(a.err, OK);
    }
    world_run_ms(t->world, 15000); /* longer than from one review to the next */
    struct machine *m = world_wait_for_leader(t->world);
    char key[100];
    snprintf(key, sizeof key, EVENTS_PREFIX "default/default/gone/%016llx",
             (unsigned long long)(changes[0] + 1));
    assert_non_null(strstr(world_get(m, key, &err), "\"count\":2"));
    for (unsigned i = 0; i < TRIO; i++)
        sim_io_step_wall(t->world->machines[i].io, (EVENT_GONE_MS + 1) * 1000000ll);
    world_run_ms(t->world, 15000);
    world_expect(m, key, "");
    expect_all(t);
}

/* --- two members that believe to lead --------------------------------------------------------------------- */

/* Another leader stores the next change in the very turn in which this one does: its write comes first. */
struct rival {
    struct trio *trio;
    struct registry *leader;
    int64_t before;      /* the revision of the settings then */
    uint64_t applied_ms; /* the time of the change; 0 = not yet */
    size_t stored;       /* events before */
    bool has_written;
    char key[100], text[8000];
    struct question question;
    Etcdserverpb__PutRequest message;
};

static uint64_t now_ms(const struct rival *r)
{
    return r->trio->world->clock.now_ns / 1000000;
}

static void rival_before(void *module, void *arg)
{
    struct rival *r = arg;
    if (module != r->leader || r->has_written || !r->applied_ms || now_ms(r) < r->applied_ms + EVENT_DELAY_MS)
        return;
    int64_t revision = settings_revision(module);
    bool has_room = r->stored < EVENT_SEGMENT_COUNT;
    size_t used = 0, count = 1;
    if (has_room)
        count += r->stored;
    used =
        (size_t)snprintf(r->text, sizeof r->text, "{\"last\":%lld,\"time_ms\":1,\"count\":%zu,\"events\":[",
                         (long long)revision, count);
    for (size_t i = 0; has_room && i < r->stored; i++)
        used +=
            (size_t)snprintf(r->text + used, sizeof r->text - used,
                             "{\"revision\":%lld,\"cause\":\"settings_changed\"},", (long long)changes[i]);
    snprintf(r->text + used, sizeof r->text - used,
             "{\"revision\":%lld,\"cause\":\"settings_changed\",\"reason\":\"rival\"}]}",
             (long long)revision);
    snprintf(r->key, sizeof r->key, EVENTS_PREFIX "default/default/web/%016llx",
             (unsigned long long)(has_room ? changes[0] : revision));
    etcdserverpb__put_request__init(&r->message);
    r->message.key = world_bytes(r->key);
    r->message.value = world_bytes(r->text);
    r->question.request.done = question_on_done;
    kv_put(world_leader(r->trio->world)->kv, &r->question.request, &r->message);
    r->has_written = true;
}

static void rival_after(void *module, void *arg)
{
    struct rival *r = arg;
    if (module == r->leader && !r->applied_ms && settings_revision(module) > r->before)
        r->applied_ms = now_ms(r);
}

static void test_rival(struct trio *t, size_t stored)
{
    struct rival r = {.trio = t, .stored = stored};
    int err;
    begin();
    for (size_t i = 0; i < stored; i++)
        change(t);
    expect_all(t);
    struct machine *m = world_wait_for_leader(t->world);
    r.leader = t->modules[trio_index(t, m)];
    r.before = changes[change_count - 1];
    hook.before = rival_before;
    hook.after = rival_after;
    hook.arg = &r;
    change(t);
    for (int n = 0; n < 200 && !r.question.is_done; n++)
        world_run_ms(t->world, 10);
    assert_true(r.question.is_done && r.question.err == OK);
    expect_all(t);
    assert_non_null(strstr(world_get(m, r.key, &err), "\"time_ms\":1,")); /* it was not overwritten */
    question_done(&r.question);
}

static void test_rival_adds(void **state)
{
    test_rival(*state, 2);
}

static void test_rival_begins_segment(void **state)
{
    test_rival(*state, EVENT_SEGMENT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_followers_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_service, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rival_adds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rival_begins_segment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
