/* SPDX-License-Identifier: Apache-2.0
 * Tests of whole-state snapshots to members that fell behind the log, through the public API (kv.h).
 * Clients, watchers and leases see the right state during a snapshot, and after a crash in the middle. */
#include "consensus/store/watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "consensus/kv/kv_impl.h"
#include "tests/unit/cluster_world.h"

static void put_many(struct machine *m, const char *prefix, unsigned count)
{
    char key[16], value[24];
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%s%u", prefix, i % 7);
        snprintf(value, sizeof value, "%u", i);
        assert_int_equal(world_put(m, key, value, 0), OK);
    }
}

static void compact(struct machine *m, int64_t revision)
{
    struct question q = {0};
    Etcdserverpb__CompactionRequest c = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    c.revision = revision;
    ASK(m, &q, kv_compact, &c);
    assert_int_equal(q.err, OK);
    question_done(&q);
}

/* A follower is cut off while the others write far more than their logs keep. */
static struct machine *leave_behind(struct world *w, unsigned puts)
{
    struct machine *m = world_follower(w);
    m->is_cut = true;
    world_wait_for_leader(w);
    put_many(world_leader(w), "k", puts);
    world_run_ms(w, 500);
    return m;
}

static void heal(struct machine *m)
{
    struct world *w = m->world;
    m->is_cut = false;
    world_wait_for_leader(w);
    for (unsigned i = 0; i < 200 && kv_revision(m->kv) < kv_revision(world_leader(w)->kv); i++)
        world_run_ms(w, 50);
    assert_int_equal(kv_revision(m->kv), kv_revision(world_leader(w)->kv));
}

/* --- watchers ------------------------------------------------------------------------------------- */

struct watching {
    struct watch_stream *stream;
    int64_t last; /* revision */
    unsigned events, canceled;
    int64_t compact_revision;
};

static void on_stream_ready(void *arg)
{
    (void)arg;
}

static void watch(struct machine *m, struct watching *w, int64_t from)
{
    Etcdserverpb__WatchCreateRequest c = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    *w = (struct watching){.stream = kv_watch_open(m->kv, on_stream_ready, w), .last = from - 1};
    c.key = world_bytes("k");
    c.range_end = world_bytes("l");
    c.start_revision = from;
    watch_create(w->stream, &c, NULL);
}

static void take_events(struct watching *w)
{
    struct watch_output out;
    while (watch_next(w->stream, &out)) {
        struct buf b = {0};
        for (size_t i = 0; i < out.count; i++)
            buf_add_slice(&b, out.pieces[i]);
        Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, b.size, b.data);
        assert_non_null(r);
        for (size_t i = 0; i < r->n_events; i++) {
            assert_int_equal(r->events[i]->kv->mod_revision, w->last + 1); /* none lost, none twice */
            w->last = r->events[i]->kv->mod_revision;
            w->events++;
        }
        if (r->canceled) {
            w->canceled++;
            w->compact_revision = r->compact_revision;
        }
        etcdserverpb__watch_response__free_unpacked(r, NULL);
        buf_done(&b);
    }
}

/* --- tests ---------------------------------------------------------------------------------------- */

static void a_slow_member_gets_the_state(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct watching seen;
    world_wait_for_leader(w);
    put_many(world_leader(w), "k", 5);
    struct machine *m = world_follower(w);
    world_run_ms(w, 300);
    watch(m, &seen, 2);
    assert_ptr_equal(leave_behind(w, 100), m);
    take_events(&seen);
    assert_int_equal(seen.events, 5);
    heal(m);
    world_run_ms(w, 200);
    take_events(&seen);
    assert_int_equal(seen.events, 105);
    assert_int_equal(seen.last, kv_revision(m->kv));
    world_expect(m, "k1", "99");
    world_expect_equal_stores(w);
    put_many(m, "k", 3);
    world_run_ms(w, 200);
    take_events(&seen);
    assert_int_equal(seen.events, 108);
    /* The member keeps the snapshot that it received. */
    watch_stream_close(seen.stream);
    machine_crash(m);
    machine_start(m, false);
    world_wait_for_leader(w);
    world_expect(m, "k1", "1");
    world_expect_equal_stores(w);
    world_free(w);
}

static void a_watcher_behind_the_compaction_is_canceled(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct watching seen;
    world_wait_for_leader(w);
    struct machine *m = world_follower(w);
    put_many(world_leader(w), "k", 5);
    world_run_ms(w, 300);
    watch(m, &seen, 2);
    leave_behind(w, 100);
    compact(world_leader(w), 80);
    put_many(world_leader(w), "k", 30);
    heal(m);
    world_run_ms(w, 200);
    take_events(&seen);
    assert_int_equal(seen.events, 5);
    assert_int_equal(seen.canceled, 1);
    assert_int_equal(seen.compact_revision, 80);
    world_expect_equal_stores(w);
    watch_stream_close(seen.stream);
    world_free(w);
}

/* Requests that wait on the member while the state is replaced. */
static void requests_wait(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    put_many(world_leader(w), "k", 5);
    struct machine *m = leave_behind(w, 100);
    struct question read = {.request.done = question_on_done}, write = {.request.done = question_on_done};
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    range.key = world_bytes("k1");
    put.key = world_bytes("late");
    put.value = world_bytes("1");
    kv_range(m->kv, &read.request, &range);
    kv_put(m->kv, &write.request, &put);
    heal(m);
    world_wait_for(w, &read);
    assert_int_equal(read.err, OK);
    assert_int_equal(((Etcdserverpb__RangeResponse *)read.response)->count, 1);
    assert_memory_equal(((Etcdserverpb__RangeResponse *)read.response)->kvs[0]->value.data, "99", 2);
    world_wait_for(w, &write); /* done, or its result is unknown */
    assert_true(write.err == OK || write.err == ERR_TIMEOUT || write.err == ERR_TIMEOUT_CONNECTION_LOST ||
                write.err == ERR_TIMEOUT_LEADER_FAIL);
    question_done(&read);
    question_done(&write);
    world_free(w);
}

/* A request to defragment that arrives while a snapshot is installed is executed on the snapshot's store.
 * kv_defrag_test.c tests requests that the install cancels. */
static void a_defrag_waits_for_the_install(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    Etcdserverpb__DefragmentRequest d = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    struct question q = {.request.done = question_on_done};
    world_wait_for_leader(w);
    put_many(world_leader(w), "k", 5);
    struct machine *m = leave_behind(w, 100);
    m->is_cut = false;
    for (unsigned i = 0; i < 100000 && !m->kv->snapshot_transfer.installing; i++)
        world_step(w);
    assert_non_null(m->kv->snapshot_transfer.installing);
    const struct store *old = m->kv->store;
    kv_defragment(m->kv, &q.request, &d);
    while (m->kv->snapshot_transfer.installing) {
        assert_false(q.is_done);
        world_step(w);
    }
    assert_ptr_not_equal(m->kv->store, old);
    world_wait_for(w, &q);
    assert_int_equal(q.err, OK);
    question_done(&q);
    heal(m);
    world_expect_equal_stores(w);
    world_free(w);
}

static void snapshots_hold_leases_and_alarms(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest g = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__AlarmRequest a = ETCDSERVERPB__ALARM_REQUEST__INIT;
    world_wait_for_leader(w);
    struct machine *m = world_follower(w);
    g.id = 6;
    g.ttl = 3;
    ASK(m, &q, kv_lease_grant, &g);
    question_done(&q);
    assert_int_equal(world_put(m, "old", "1", 6), OK);
    world_run_ms(w, 200);
    m->is_cut = true;
    struct machine *leader = world_wait_for_leader(w);
    g.id = 7;
    g.ttl = 20;
    ASK(leader, &q, kv_lease_grant, &g);
    assert_int_equal(q.err, OK);
    question_done(&q);
    assert_int_equal(world_put(leader, "leased", "1", 7), OK);
    world_run_ms(w, 5000); /* lease 6 expires while m does not see it */
    put_many(leader, "k", 100);
    a.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    a.memberid = leader->id;
    a.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    ASK(leader, &q, kv_alarm, &a);
    assert_int_equal(q.err, OK);
    question_done(&q);
    world_run_ms(w, 500);
    assert_int_equal(kv_alarms(m->kv), 0);
    heal(m);
    assert_int_equal(kv_alarms(m->kv), 1);
    world_expect(m, "old", "");
    a.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    ASK(m, &q, kv_alarm, &a);
    question_done(&q);
    /* It leads now: the lease expires by its clock. */
    Etcdserverpb__MoveLeaderRequest move = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    move.targetid = m->id;
    ASK(leader, &q, kv_move_leader, &move);
    assert_int_equal(q.err, OK);
    question_done(&q);
    world_wait_for_leader(w);
    world_expect(m, "leased", "1");
    world_run_ms(w, 23000);
    world_expect(m, "leased", "");
    world_expect_equal_stores(w);
    world_free(w);
}

static bool has_file(const struct machine *m, const char *name)
{
    char path[64];
    size_t inode;
    snprintf(path, sizeof path, "/data/member/%s", name);
    return sim_disk_find(m->disk, path, &inode);
}

/* Runs until the file is there, or removed; a hundred seconds at most. */
static void run_until(struct machine *m, const char *name, bool is_there)
{
    for (unsigned i = 0; i < 200000 && has_file(m, name) != is_there; i++)
        world_step(m->world);
    assert_int_equal(has_file(m, name), is_there);
}

/* Power cuts at moments of the transfer and the installation: the transfer begins again or is finished, and
 * the member is up to date in the end. */
static void crashes_in_the_middle(void **state)
{
    (void)state;
    unsigned parts = 0, wholes = 0;
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    put_many(world_leader(w), "k", 5);
    for (unsigned at = 0; at < 30; at++) {
        world_run_ms(w, 11000); /* the log is kept for a member that has just received a snapshot */
        struct machine *m = leave_behind(w, 30);
        m->is_cut = false;
        run_until(m, at % 3 ? "snapshot-in" : "snapshot-in.tmp", true);
        if (at % 3 == 2)
            run_until(m, "snapshot-in", false);
        for (unsigned i = 0; i < at / 3; i++)
            world_step(w);
        parts += has_file(m, "snapshot-in.tmp");
        wholes += has_file(m, "snapshot-in");
        machine_crash(m);
        world_run_ms(w, 100);
        machine_start(m, false);
        heal(m);
        world_expect(m, "k1", "29");
        world_expect_equal_stores(w);
    }
    print_message("%u crashes with a part, %u with the whole file\n", parts, wholes);
    assert_true(parts >= 3 && wholes >= 3);
    world_free(w);
}

/* The leader fails while it sends: the next one begins anew. */
static void the_sender_dies(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 6; at++) {
        struct world *w = world_new(3);
        world_wait_for_leader(w);
        put_many(world_leader(w), "k", 5);
        struct machine *m = leave_behind(w, 30);
        struct machine *leader = world_leader(w);
        m->is_cut = false;
        world_run_ms(w, 100 + at * 30);
        machine_crash(leader);
        world_wait_for_leader(w);
        machine_start(leader, false);
        world_wait_for_leader(w);
        heal(m);
        world_expect_equal_stores(w);
        world_free(w);
    }
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    world_catchup_entries = 10;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_member_gets_the_state),
        cmocka_unit_test(a_watcher_behind_the_compaction_is_canceled),
        cmocka_unit_test(requests_wait),
        cmocka_unit_test(a_defrag_waits_for_the_install),
        cmocka_unit_test(snapshots_hold_leases_and_alarms),
        cmocka_unit_test(crashes_in_the_middle),
        cmocka_unit_test(the_sender_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
