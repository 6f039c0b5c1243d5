/* SPDX-License-Identifier: Apache-2.0
 * Deletion of namespaces on three members, on virtual time: the leader carries it out, a new leader goes on
 * with it after every kind of end, each key is counted once, and it only ends when all is gone. */
#include <stdio.h>
#include <string.h>

#include "namespace/namespace.h"
#include "tests/unit/trio.h"

enum { INSTANCES = 150, HEADS = 50, BATCH = 1 };

static void *open_module(struct kv *kv, const char *member)
{
    (void)member;
    const struct namespaces_options o = {.kv = kv, .batch_keys = BATCH, .documents_max = 3};
    return namespaces_new(&o);
}

static void close_module(void *module)
{
    namespaces_free(module);
}

/* Runs on each member right before the turn of its namespaces: what it proposes there is in the log before
 * what the leader decides in this turn, and the leader cannot see it yet. */
static struct {
    void (*run)(void *module, void *arg);
    void *arg;
} hook;

static void turn(void *module)
{
    if (hook.run)
        hook.run(module, hook.arg);
    namespaces_turn(module);
}

static bool is_ready(const void *module)
{
    return namespaces_is_ready(module);
}

static const struct trio_kind kind = {open_module, close_module, turn, is_ready};

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

/* A request and its result. */
struct reply {
    struct namespaces_request request;
    bool is_done;
    int err;
    struct namespaces_result result;
    char error[300];
};

static void on_done(struct namespaces_request *q, int err, const struct namespaces_result *result)
{
    struct reply *a = container_of(q, struct reply, request);
    a->is_done = true;
    a->err = err;
    a->result = *result;
    snprintf(a->error, sizeof a->error, "%s", result->error ? result->error : "");
}

static struct reply reply(void)
{
    return (struct reply){.request = {.done = on_done, .author = {.name = slice_text("alice")}}};
}

static unsigned any(const struct trio *t)
{
    unsigned i = 0;
    while (!t->modules[i])
        i++;
    return i;
}

static struct reply put(struct trio *t, unsigned i, const char *ns, const char *title, int64_t if_revision)
{
    struct reply a = reply();
    const struct namespace_change change = {.document = {.title = slice_text(title)}};
    const struct namespaces_condition c = {.has_revision = if_revision >= 0, .if_revision = if_revision};
    namespaces_put(t->modules[i], &a.request, slice_text(ns), &change, &c);
    trio_wait(t, &a.is_done);
    return a;
}

static struct reply removal(struct trio *t, unsigned i, const char *ns, bool is_cascade, bool is_dry)
{
    struct reply a = reply();
    const struct namespaces_removal r = {.is_cascade = is_cascade, .is_dry = is_dry};
    namespaces_delete(t->modules[i], &a.request, slice_text(ns), &r);
    trio_wait(t, &a.is_done);
    return a;
}

static const struct namespace_entry *entry(const struct trio *t, unsigned i, const char *ns)
{
    return namespace_view_find(namespaces_view(t->modules[i]), slice_text(ns));
}

/* Fills a namespace with the keys of instances and heads; what they hold does not matter here. */
static void fill(struct trio *t, const char *ns)
{
    char key[100];
    struct machine *m = world_wait_for_leader(t->world);
    for (int i = 0; i < INSTANCES + HEADS; i++) {
        snprintf(key, sizeof key, "/cairn/%s/%s/g/s/i%03d",
                 i < INSTANCES ? "registry/instances" : "config/heads", ns, i);
        assert_int_equal(world_put(m, key, "x", 0), OK);
    }
    snprintf(key, sizeof key, "/cairn/registry/guards/%s", ns);
    assert_int_equal(world_put(m, key, "x", 0), OK);
}

/* The number of keys of a prefix at a revision (0 = now), linearizable. */
static int64_t keys_at(struct trio *t, const char *prefix, int64_t revision)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct question q = {0};
    char end[100];
    snprintf(end, sizeof end, "%s", prefix);
    end[strlen(end) - 1]++;
    m.key = world_bytes(prefix);
    m.range_end = world_bytes(end);
    m.count_only = true;
    m.revision = revision;
    ASK(world_wait_for_leader(t->world), &q, kv_range, &m);
    assert_int_equal(q.err, OK);
    int64_t count = ((const Etcdserverpb__RangeResponse *)q.response)->count;
    question_done(&q);
    return count;
}

static bool is_over(struct trio *t, const char *ns)
{
    const struct namespace_entry *e = entry(t, any(t), ns);
    return e && e->deletion && e->deletion->is_done;
}

static uint64_t removed(struct trio *t, const char *ns)
{
    const struct namespace_entry *e = entry(t, any(t), ns);
    return e && e->deletion ? namespace_counts_sum(e->deletion->removed) : 0;
}

static void wait_over(struct trio *t, const char *ns)
{
    for (unsigned n = 0; n < 6000 && !is_over(t, ns); n++)
        world_run_ms(t->world, 10);
    assert_true(is_over(t, ns));
}

/* All is gone, but the other namespace, and the counts are exact. */
static void expect_deleted(struct trio *t, const char *ns)
{
    const struct namespace_entry *e = entry(t, any(t), ns);
    char key[100];
    for (int a = 0; a < AREAS; a++) {
        snprintf(key, sizeof key, "%s%s/", namespace_areas[a].prefix, ns);
        assert_int_equal(keys_at(t, key, 0), 0);
    }
    snprintf(key, sizeof key, "/cairn/registry/guards/%s", ns);
    world_expect(world_wait_for_leader(t->world), key, "");
    assert_int_equal(e->deletion->found[AREA_INSTANCES], INSTANCES);
    assert_int_equal(e->deletion->removed[AREA_INSTANCES], INSTANCES);
    assert_int_equal(e->deletion->found[AREA_HEADS], HEADS);
    assert_int_equal(e->deletion->removed[AREA_HEADS], HEADS);
    assert_true(e->deletion->done_ms >= e->deletion->time_ms);
    assert_true(slice_equal(e->deletion->author.name, slice_text("alice")));
    assert_int_equal(e->revisions[KEY_DOCUMENT], 0);
}

static void start(struct trio *t, const char *ns)
{
    fill(t, ns);
    assert_int_equal(put(t, 0, ns, "T", -1).err, OK);
    struct reply a = removal(t, 1, ns, true, false);
    assert_int_equal(a.err, OK);
    assert_true(a.result.is_running);
    assert_int_equal(namespace_counts_sum(a.result.counts), INSTANCES + HEADS);
}

/* --- documents ------------------------------------------------------------------------------------------ */

/* Three at once with the same condition, from views of different age: one wins. */
static void test_conditions(void **state)
{
    struct trio *t = *state;
    struct reply first = put(t, 0, "a", "0", 0);
    assert_int_equal(first.err, OK);
    assert_int_equal(put(t, 1, "a", "0", 0).err, ERR_PRECONDITION);
    assert_true(put(t, 1, "a", "0", -1).result.is_unchanged);
    for (unsigned round = 0; round < 5; round++) {
        struct reply a[TRIO];
        char title[TRIO][16];
        int64_t at = entry(t, 0, "a")->revision;
        unsigned won = 0;
        for (unsigned i = 0; i < TRIO; i++) {
            snprintf(title[i], sizeof title[i], "%u-%u", round, i);
            a[i] = reply();
            const struct namespace_change change = {.document = {.title = slice_text(title[i])}};
            const struct namespaces_condition c = {.has_revision = true, .if_revision = at};
            namespaces_put(t->modules[i], &a[i].request, slice_text("a"), &change, &c);
        }
        for (unsigned i = 0; i < TRIO; i++) {
            trio_wait(t, &a[i].is_done);
            won += a[i].err == OK;
            assert_true(a[i].err == OK || a[i].err == ERR_PRECONDITION);
        }
        assert_int_equal(won, 1);
        struct reply barrier = reply();
        namespaces_barrier(t->modules[0], &barrier.request);
        trio_wait(t, &barrier.is_done);
    }
    assert_int_equal(put(t, 0, "b", "", -1).err, OK);
    assert_int_equal(put(t, 1, "c", "", -1).err, OK);
    assert_int_equal(put(t, 2, "d", "", -1).err, ERR_QUOTA); /* documents_max */
    assert_int_equal(put(t, 2, "a/b", "", -1).err, ERR_INVALID);
}

static void test_delete_empty(void **state)
{
    struct trio *t = *state;
    assert_int_equal(removal(t, 0, "a", true, false).err, ERR_NOT_FOUND);
    put(t, 0, "a", "A", -1);
    assert_int_equal(world_put(world_wait_for_leader(t->world), "/cairn/config/drafts/a/g/n", "x", 0), OK);
    struct reply a = removal(t, 1, "a", false, false);
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_true(a.result.is_left);
    assert_int_equal(a.result.counts[AREA_DRAFTS], 1);
    assert_string_equal(
        a.error, "namespace a is not empty, it has 1 drafts: delete these first, or all with cascade=true");
    a = removal(t, 1, "a", true, true);
    assert_int_equal(a.err, OK);
    assert_false(a.result.is_running);
    assert_int_equal(a.result.counts[AREA_DRAFTS], 1);
    assert_int_equal(keys_at(t, "/cairn/config/drafts/a/", 0), 1);
    put(t, 0, "b", "B", -1);
    assert_int_equal(removal(t, 2, "b", false, false).err, OK);
    assert_null(entry(t, 2, "b"));
}

/* --- deletions ------------------------------------------------------------------------------------------ */

static void test_cascade(void **state)
{
    struct trio *t = *state;
    fill(t, "ab"); /* its keys begin as those of "a" */
    start(t, "a");
    assert_int_equal(put(t, 2, "a", "new", -1).err, ERR_CONFLICT); /* while it is deleted */
    struct reply again = removal(t, 2, "a", true, false);
    assert_true(again.err == OK && again.result.is_running && again.result.is_unchanged);
    wait_over(t, "a");
    expect_deleted(t, "a");
    assert_int_equal(keys_at(t, "/cairn/registry/instances/ab/", 0), INSTANCES);
    assert_int_equal(keys_at(t, "/cairn/config/heads/ab/", 0), HEADS);
    assert_int_equal(put(t, 2, "a", "new", -1).err, OK);
}

/* The leader dies, and comes back, again and again; the job goes on with the next one. */
static void test_leader_dies(void **state)
{
    struct trio *t = *state;
    unsigned deaths = 0;
    start(t, "a");
    while (!is_over(t, "a") && deaths < 8) {
        uint64_t before = removed(t, "a");
        for (unsigned n = 0; n < 4000 && removed(t, "a") < before + 3 * BATCH && !is_over(t, "a"); n++)
            world_run_ms(t->world, 1);
        struct machine *m = world_wait_for_leader(t->world);
        unsigned i = trio_index(t, m);
        trio_close(t, i);
        machine_crash(m);
        deaths++;
        world_wait_for_leader(t->world);
        world_run_ms(t->world, 100);
        machine_start(m, false);
        trio_open(t, i);
        for (unsigned n = 0; n < 400 && !trio_is_ready(t); n++)
            world_run_ms(t->world, 50);
    }
    assert_true(deaths > 3);
    wait_over(t, "a");
    expect_deleted(t, "a");
    world_run_ms(t->world, 1000);
    world_expect_equal_stores(t->world);
}

/* The leader is cut off from the others with a batch under way, and comes back as a follower. */
static void test_leader_is_cut(void **state)
{
    struct trio *t = *state;
    start(t, "a");
    for (unsigned cut = 0; cut < 6 && !is_over(t, "a"); cut++) {
        uint64_t before = removed(t, "a");
        for (unsigned n = 0; n < 4000 && removed(t, "a") == before && !is_over(t, "a"); n++)
            world_run_ms(t->world, 1);
        struct machine *m = world_wait_for_leader(t->world);
        m->is_cut = true;
        world_run_ms(t->world, 3000);
        m->is_cut = false;
        world_run_ms(t->world, 300);
    }
    wait_over(t, "a");
    expect_deleted(t, "a");
}

/* Puts of the leader that nothing waits for. */
enum { LATE_MAX = 5 };
struct late {
    struct trio *trio;
    const char *key; /* NULL: others, LATE_MAX times, each after `wait` turns without a key */
    const char *value, *ns;
    unsigned skip, wait, count; /* turns of the leader before the first put; puts */
    unsigned empty;
    struct question questions[LATE_MAX];
    Etcdserverpb__PutRequest messages[LATE_MAX];
    char keys[LATE_MAX][64];
};

static bool is_empty(struct kv *kv, const char *ns)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct buf key = {0}, end = {0};
    struct arena a = {0};
    namespace_area_range(AREA_RELEASES, slice_text(ns), &key, &end);
    m.key = (ProtobufCBinaryData){key.size, key.data};
    m.range_end = (ProtobufCBinaryData){end.size, end.data};
    m.count_only = true;
    assert_int_equal(kv_range_now(kv, &m, &a, &response), OK);
    bool yes = response->count == 0;
    arena_done(&a);
    buf_done(&key);
    buf_done(&end);
    return yes;
}

static void put_late(void *module, void *arg)
{
    struct late *l = arg;
    struct machine *m = world_leader(l->trio->world);
    if (!m || l->trio->modules[trio_index(l->trio, m)] != module || l->count == (l->key ? 1 : LATE_MAX))
        return;
    if (l->skip) {
        l->skip--;
        return;
    }
    if (!l->key && (!is_empty(m->kv, l->ns) || l->empty++ < l->wait))
        return;
    l->empty = 0;
    struct question *q = &l->questions[l->count];
    Etcdserverpb__PutRequest *message = &l->messages[l->count];
    char *key = l->keys[l->count++];
    if (l->key)
        snprintf(key, sizeof l->keys[0], "%s", l->key);
    else
        snprintf(key, sizeof l->keys[0], "/cairn/config/releases/%s/g/late/%u", l->ns, l->count);
    etcdserverpb__put_request__init(message);
    message->key = world_bytes(key);
    message->value = world_bytes(l->value);
    q->request.done = question_on_done;
    kv_put(m->kv, &q->request, message);
}

static void late_begin(struct late *l)
{
    hook.run = put_late;
    hook.arg = l;
}

static void late_end(struct late *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        world_wait_for(l->trio->world, &l->questions[i]);
        assert_int_equal(l->questions[i].err, OK);
        question_done(&l->questions[i]);
    }
    hook.run = NULL;
    mem_free(l);
}

/* Keys come while the deletion runs, also in the very turn in which it would end: at the revision in which it
 * ended there was none. */
static void test_late_keys(void **state)
{
    struct trio *t = *state;
    struct machine *m = world_wait_for_leader(t->world);
    unsigned puts = 0;
    for (unsigned wait = 0; wait < 30; wait++) {
        struct late *late = mem_new(sizeof *late);
        char ns[8], prefix[64], key[80];
        snprintf(ns, sizeof ns, "n%u", wait);
        snprintf(prefix, sizeof prefix, "/cairn/config/releases/%s/", ns);
        snprintf(key, sizeof key, "%sg/n", prefix);
        *late = (struct late){.trio = t, .value = "x", .ns = ns, .wait = wait};
        assert_int_equal(world_put(m, key, "x", 0), OK);
        struct reply a = removal(t, 1, ns, true, false);
        assert_true(a.err == OK && a.result.is_running);
        late_begin(late);
        wait_over(t, ns);
        hook.run = NULL;
        assert_int_equal(keys_at(t, prefix, entry(t, any(t), ns)->revisions[KEY_DELETION]), 0);
        puts += late->count;
        late_end(late);
    }
    assert_true(puts > 30);
}

/* A deletion that somebody else ends stays ended: a batch that was decided on the older one does not begin it
 * again, and removes nothing. Each round ends it a turn later, until several batches more come first: so some of
 * them were the turn of a batch. */
static void test_ended_by_another(void **state)
{
    enum { DRAFTS = 30 };
    struct trio *t = *state;
    struct machine *m = world_wait_for_leader(t->world);
    int64_t first = 0;
    bool is_late = false;
    for (unsigned round = 0; round < 200 && !is_late; round++) {
        char ns[8], key[64], prefix[64];
        snprintf(ns, sizeof ns, "n%u", round);
        snprintf(key, sizeof key, "/cairn/namespaces/deletions/%s", ns);
        snprintf(prefix, sizeof prefix, "/cairn/config/drafts/%s/", ns);
        for (unsigned i = 0; i < DRAFTS; i++) {
            char draft[100];
            snprintf(draft, sizeof draft, "%s%u", prefix, i);
            assert_int_equal(world_put(m, draft, "x", 0), OK);
        }
        assert_int_equal(removal(t, 0, ns, true, false).err, OK);
        struct late *late = mem_new(sizeof *late);
        *late = (struct late){.trio = t, .key = key, .value = "{\"state\":\"done\"}", .skip = round};
        late_begin(late);
        for (unsigned n = 0; n < 1000 && !is_over(t, ns); n++)
            world_run_ms(t->world, 1);
        int64_t end = entry(t, any(t), ns)->revisions[KEY_DELETION], left = keys_at(t, prefix, end);
        assert_true(left > 0);
        first = round ? first : left;
        is_late = left < first - DRAFTS / 3;
        world_run_ms(t->world, 50);
        assert_int_equal(entry(t, any(t), ns)->revisions[KEY_DELETION], end);
        assert_int_equal(keys_at(t, prefix, 0), left);
        late_end(late);
    }
    assert_true(is_late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cascade, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ended_by_another, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
