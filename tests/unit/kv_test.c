/* SPDX-License-Identifier: Apache-2.0
 * Tests of the public API (kv.h) on a real loop and a real folder: one member from its first start through
 * restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/log.h"
#include "consensus/kv.h"

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct io *io;
    struct kv *kv;
    uv_check_t check;
    uv_prepare_t prepare;
    bool is_ready, is_closed;
    uint64_t longest_turn_ns; /* of this thread's CPU time: the machine may be busy */
};

/* A request and its result; the response is packed because it is valid only during done. */
struct question {
    struct kv_request request;
    bool is_done;
    int err;
    const ProtobufCMessageDescriptor *type;
    ProtobufCMessage *response;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void on_turn_check(uv_check_t *handle)
{
    struct fixture *f = handle->data;
    uint64_t begin = cpu_ns();
    if (f->kv)
        kv_turn(f->kv);
    uint64_t took = cpu_ns() - begin;
    if (took > f->longest_turn_ns)
        f->longest_turn_ns = took;
}

static void on_turn_prepare(uv_prepare_t *handle)
{
    struct fixture *f = handle->data;
    if (f->kv)
        kv_turn(f->kv);
}

static void on_ready(void *arg)
{
    ((struct fixture *)arg)->is_ready = true;
}

static void open_node(struct fixture *f)
{
    static const struct kv_member_option members[] = {{"default", "http://localhost:2380"}};
    static const char *const peer_urls[] = {"http://localhost:2380"}, *const client_urls[] = {
                                                                          "http://localhost:2379"};
    struct kv_options options = {
        .data_dir = f->dir,
        .name = "default",
        .initial_cluster_token = "etcd-cluster",
        .initial_cluster = members,
        .initial_cluster_count = 1,
        .peer_urls = peer_urls,
        .peer_url_count = 1,
        .client_urls = client_urls,
        .client_url_count = 1,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_catchup_entries = 100,
        .request_bytes_max = 1572864,
        .txn_ops_max = 128,
        .commit_interval_ms = 100,
        .commit_ops = 10000,
        .compaction_batch = 1000,
        .compaction_sleep_ms = 10,
        .auto_compaction_mode = "periodic",
        .progress_interval_ms = 600000,
        .pre_vote = true,
    };
    char error[512] = "";
    assert_int_equal(uv_loop_init(&f->loop), 0);
    options.io = f->io = io_real_new(&f->loop, false);
    f->is_ready = f->is_closed = false;
    int err = kv_open(&options, error, sizeof error, &f->kv);
    if (err)
        fail_msg("kv_open: %s", error);
    kv_on_ready(f->kv, on_ready, f);
    uv_check_init(&f->loop, &f->check);
    uv_prepare_init(&f->loop, &f->prepare);
    f->check.data = f->prepare.data = f;
    uv_check_start(&f->check, on_turn_check);
    uv_prepare_start(&f->prepare, on_turn_prepare);
    while (!f->is_ready)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;
    f->kv = NULL;
    f->is_closed = true;
}

static void close_node(struct fixture *f)
{
    kv_close(f->kv, on_closed, f);
    while (!f->is_closed)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f->check, NULL);
    uv_close((uv_handle_t *)&f->prepare, NULL);
    io_real_free(f->io);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(sizeof *f);
    strcpy(f->dir, "/tmp/kv_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    open_node(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_node(f);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(f);
    return 0;
}

static void on_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct question *q = container_of(r, struct question, request);
    q->is_done = true;
    q->err = err;
    if (!err && response) {
        size_t size = protobuf_c_message_get_packed_size(response);
        uint8_t *bytes = mem_alloc(size);
        protobuf_c_message_pack(response, bytes);
        q->response = protobuf_c_message_unpack(response->descriptor, NULL, size, bytes);
        mem_free(bytes);
    }
}

static void wait_for(struct fixture *f, struct question *q)
{
    while (!q->is_done)
        uv_run(&f->loop, UV_RUN_ONCE);
}

#define ASK(f, q, call, message)                                                                             \
    do {                                                                                                     \
        (q)->request.done = on_done;                                                                         \
        call((f)->kv, &(q)->request, message);                                                               \
        assert_false((q)->is_done);                                                                          \
        wait_for(f, q);                                                                                      \
    } while (0)

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void answer_done(struct question *q)
{
    if (q->response)
        protobuf_c_message_free_unpacked(q->response, NULL);
}

static int64_t put(struct fixture *f, const char *key, const char *value, int64_t lease)
{
    struct question q = {0};
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = bytes(key);
    m.value = bytes(value);
    m.lease = lease;
    ASK(f, &q, kv_put, &m);
    if (q.err)
        return q.err;
    int64_t revision = ((Etcdserverpb__PutResponse *)q.response)->header->revision;
    answer_done(&q);
    return revision;
}

static void expect_key(struct fixture *f, const char *key, const char *value)
{
    struct question q = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = bytes(key);
    ASK(f, &q, kv_range, &m);
    assert_int_equal(q.err, OK);
    Etcdserverpb__RangeResponse *r = (Etcdserverpb__RangeResponse *)q.response;
    assert_int_equal(r->count, value ? 1 : 0);
    if (value) {
        assert_int_equal(r->kvs[0]->value.len, strlen(value));
        assert_memory_equal(r->kvs[0]->value.data, value, strlen(value));
    }
    assert_int_equal(r->header->cluster_id, 0xcdf818194e3a8c32ULL);
    assert_int_equal(r->header->member_id, 0x8e9e05c52164694dULL);
    assert_true(r->header->raft_term > 0);
    answer_done(&q);
}

static void reopen(struct fixture *f)
{
    close_node(f);
    open_node(f);
}

static void puts_survive_restarts(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(kv_revision(f->kv), 1);
    assert_int_equal(put(f, "a", "1", 0), 2);
    assert_int_equal(put(f, "b", "2", 0), 3);
    expect_key(f, "a", "1");
    reopen(f);
    assert_int_equal(kv_revision(f->kv), 3);
    expect_key(f, "a", "1");
    expect_key(f, "b", "2");
    expect_key(f, "c", NULL);
    assert_int_equal(put(f, "a", "3", 0), 4);
    reopen(f);
    expect_key(f, "a", "3");
}

/* More entries than the catch-up window, so that the log is compacted, over several restarts. */
static void long_logs_are_cut_and_replayed(void **state)
{
    struct fixture *f = *state;
    int64_t revision = 1;
    for (int round = 0; round < 3; round++) {
        enum { COUNT = 3000 };
        struct question *q = mem_new(COUNT * sizeof *q);
        Etcdserverpb__PutRequest *m = mem_new(COUNT * sizeof *m);
        for (int i = 0; i < COUNT; i++) {
            etcdserverpb__put_request__init(&m[i]);
            m[i].key = bytes("key");
            m[i].value = bytes("a value of some bytes");
            q[i].request.done = on_done;
            kv_put(f->kv, &q[i].request, &m[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            wait_for(f, &q[i]);
            assert_int_equal(q[i].err, OK);
            assert_int_equal(((Etcdserverpb__PutResponse *)q[i].response)->header->revision, ++revision);
            answer_done(&q[i]);
        }
        mem_free(q);
        mem_free(m);
        reopen(f);
        assert_int_equal(kv_revision(f->kv), revision);
    }
}

static void leases_are_granted_kept_and_revoked(void **state)
{
    struct fixture *f = *state;
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = 100;
    ASK(f, &q, kv_lease_grant, &grant);
    assert_int_equal(q.err, OK);
    int64_t id = ((Etcdserverpb__LeaseGrantResponse *)q.response)->id;
    assert_true(id > 0);
    assert_int_equal(((Etcdserverpb__LeaseGrantResponse *)q.response)->ttl, 100);
    answer_done(&q);
    assert_int_equal(put(f, "leased", "x", id), 2);
    assert_int_equal(put(f, "other", "x", 4711), ERR_LEASE_NOT_FOUND);
    reopen(f);

    q = (struct question){0};
    Etcdserverpb__LeaseTimeToLiveRequest ttl = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    ttl.id = id;
    ttl.keys = 1;
    ASK(f, &q, kv_lease_time_to_live, &ttl);
    Etcdserverpb__LeaseTimeToLiveResponse *r = (Etcdserverpb__LeaseTimeToLiveResponse *)q.response;
    assert_int_equal(r->grantedttl, 100);
    assert_true(r->ttl >= 98);
    assert_int_equal(r->n_keys, 1);
    assert_memory_equal(r->keys[0].data, "leased", 6);
    answer_done(&q);

    q = (struct question){0};
    Etcdserverpb__LeaseKeepAliveRequest keep = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    keep.id = id;
    ASK(f, &q, kv_lease_keep_alive, &keep);
    assert_int_equal(((Etcdserverpb__LeaseKeepAliveResponse *)q.response)->ttl, 100);
    answer_done(&q);

    q = (struct question){0};
    Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    revoke.id = id;
    ASK(f, &q, kv_lease_revoke, &revoke);
    assert_int_equal(q.err, OK);
    assert_int_equal(((Etcdserverpb__LeaseRevokeResponse *)q.response)->header->revision, 3);
    answer_done(&q);
    expect_key(f, "leased", NULL);

    q = (struct question){0};
    ASK(f, &q, kv_lease_keep_alive, &keep);
    assert_int_equal(q.err, OK);
    assert_int_equal(((Etcdserverpb__LeaseKeepAliveResponse *)q.response)->ttl, 0);
    answer_done(&q);
}

static int64_t granted_id(struct fixture *f, int64_t wanted)
{
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = 100;
    grant.id = wanted;
    ASK(f, &q, kv_lease_grant, &grant);
    assert_int_equal(q.err, OK);
    int64_t id = ((Etcdserverpb__LeaseGrantResponse *)q.response)->id;
    answer_done(&q);
    return id;
}

/* Ids are neighbours in the store's file, and none repeats: not one that a client chose, not one of an
 * earlier run. */
static void chosen_lease_ids_ascend(void **state)
{
    struct fixture *f = *state;
    int64_t first = granted_id(f, 0);
    assert_true(first > 0);
    assert_int_equal((uint64_t)first >> 48, kv_member_id(f->kv) & 0x7fff);
    assert_int_equal(granted_id(f, 0), first + 1);
    assert_int_equal(granted_id(f, first + 2), first + 2);
    assert_int_equal(granted_id(f, 0), first + 3);
    reopen(f);
    assert_true(granted_id(f, 0) > first + 3);
}

static void leases_expire_through_the_log(void **state)
{
    struct fixture *f = *state;
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.ttl = 1;
    grant.id = 77;
    uint64_t start = uv_hrtime(); /* before the grant: its two seconds begin no sooner */
    ASK(f, &q, kv_lease_grant, &grant);
    assert_int_equal(((Etcdserverpb__LeaseGrantResponse *)q.response)->ttl, 2); /* the minimum */
    answer_done(&q);
    assert_int_equal(put(f, "mortal", "x", 77), 2);
    while (kv_revision(f->kv) == 2 && uv_hrtime() - start < 60000000000ULL)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(uv_hrtime() - start > 1900000000ULL);
    assert_int_equal(kv_revision(f->kv), 3);
    expect_key(f, "mortal", NULL);
}

static void bad_requests_change_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, "", "x", 0), ERR_KEY_EMPTY);
    struct question q = {0};
    Etcdserverpb__CompactionRequest compact = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    compact.revision = 99;
    ASK(f, &q, kv_compact, &compact);
    assert_int_equal(q.err, ERR_FUTURE_REV);
    char *huge = mem_new(1600000);
    memset(huge, 'x', 1599999);
    assert_int_equal(put(f, "k", huge, 0), ERR_REQUEST_TOO_LARGE);
    mem_free(huge);
    assert_int_equal(kv_revision(f->kv), 1);
}

static void set_alarm(struct fixture *f, Etcdserverpb__AlarmType type, bool is_on)
{
    struct question q = {0};
    Etcdserverpb__AlarmRequest m = ETCDSERVERPB__ALARM_REQUEST__INIT;
    m.action = is_on ? ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE
                     : ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    m.memberid = kv_member_id(f->kv);
    m.alarm = type;
    ASK(f, &q, kv_alarm, &m);
    assert_int_equal(q.err, OK);
    answer_done(&q);
}

static void alarms_refuse_changes_and_no_reads(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1", 0);
    set_alarm(f, ETCDSERVERPB__ALARM_TYPE__NOSPACE, true);
    assert_int_equal(put(f, "a", "2", 0), ERR_NO_SPACE);
    expect_key(f, "a", "1");
    set_alarm(f, ETCDSERVERPB__ALARM_TYPE__NOSPACE, false);
    set_alarm(f, ETCDSERVERPB__ALARM_TYPE__CORRUPT, true);
    assert_int_equal(put(f, "a", "2", 0), ERR_CORRUPT_CLUSTER);
    expect_key(f, "a", "1"); /* etcd's reads do not pass the applier that refuses */
    set_alarm(f, ETCDSERVERPB__ALARM_TYPE__CORRUPT, false);
    assert_int_equal(put(f, "a", "2", 0), 3);
}

static void physical_compaction_waits_for_the_sweep(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++)
        assert_true(put(f, "k", "v", 0) > 0);
    struct question q = {0};
    Etcdserverpb__CompactionRequest compact = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    compact.revision = 15;
    compact.physical = 1;
    ASK(f, &q, kv_compact, &compact);
    assert_int_equal(q.err, OK);
    answer_done(&q);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = bytes("k");
    m.revision = 14;
    q = (struct question){0};
    ASK(f, &q, kv_range, &m);
    assert_int_equal(q.err, ERR_COMPACTED);
    reopen(f);
    q = (struct question){0};
    ASK(f, &q, kv_range, &m);
    assert_int_equal(q.err, ERR_COMPACTED);
    expect_key(f, "k", "v");
}

static void a_close_answers_pending_requests(void **state)
{
    struct fixture *f = *state;
    struct question q = {.request.done = on_done};
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = bytes("k");
    kv_put(f->kv, &q.request, &m);
    close_node(f);
    assert_true(q.is_done);
    assert_int_equal(q.err, ERR_STOPPED);
    open_node(f);
    /* A canceled request is never answered. */
    q = (struct question){.request.done = on_done};
    kv_put(f->kv, &q.request, &m);
    kv_cancel(f->kv, &q.request);
    assert_true(put(f, "other", "x", 0) > 0);
    assert_false(q.is_done);
}

static bool has_room_now;
static unsigned room_asked;

static bool has_room(const struct kv_request *r)
{
    (void)r;
    room_asked++;
    return has_room_now;
}

/* No more answers are made for a client that does not read them; others are served meanwhile. */
static void reads_wait_for_room(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 20 };
    static struct question parked[COUNT];
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = bytes("k");
    put(f, "k", "v", 0);
    has_room_now = false;
    for (int i = 0; i < COUNT; i++) {
        parked[i] = (struct question){.request = {.done = on_done, .has_room = has_room}};
        kv_range(f->kv, &parked[i].request, &m);
    }
    expect_key(f, "k", "v");
    put(f, "k", "w", 0);
    assert_int_equal(room_asked, COUNT); /* called once, not every turn */
    for (int i = 0; i < COUNT; i++)
        assert_false(parked[i].is_done);
    kv_cancel(f->kv, &parked[0].request);
    has_room_now = true;
    for (int i = 0; i < COUNT; i++)
        kv_resume(f->kv, &parked[i].request);
    for (int i = 1; i < COUNT; i++) {
        wait_for(f, &parked[i]);
        assert_int_equal(parked[i].err, OK);
        answer_done(&parked[i]);
    }
    assert_false(parked[0].is_done);
    kv_resume(f->kv, &parked[1].request); /* nothing */
    /* A close ends those too. */
    has_room_now = false;
    struct question last = {.request = {.done = on_done, .has_room = has_room}};
    kv_range(f->kv, &last.request, &m);
    expect_key(f, "k", "w");
    close_node(f);
    assert_int_equal(last.err, ERR_STOPPED);
    open_node(f);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Many long reads at once are spread over turns: a write that came with them does not wait for the last. */
static void long_reads_leave_turns_to_others(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = SANITIZED ? 20 : 80 }; /* a read has its time limit, also on a slow machine */
    static struct question reads[COUNT];
    static char value[1 << 20];
    struct question write = {.request.done = on_done};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    memset(value, 'v', sizeof value - 1);
    for (char key[] = "a"; key[0] < 'e'; key[0]++)
        put(f, key, value, 0);
    m.key = bytes("a");
    m.range_end = bytes("z");
    p.key = bytes("x");
    for (int i = 0; i < COUNT; i++) {
        reads[i] = (struct question){.request.done = on_done};
        kv_range(f->kv, &reads[i].request, &m);
    }
    kv_put(f->kv, &write.request, &p);
    wait_for(f, &write);
    answer_done(&write);
    assert_false(reads[COUNT - 1].is_done);
    for (int i = 0; i < COUNT; i++) {
        wait_for(f, &reads[i]);
        assert_int_equal(reads[i].err, OK);
        assert_int_equal(((Etcdserverpb__RangeResponse *)reads[i].response)->count >= 4, 1);
        answer_done(&reads[i]);
    }
}

/* --- reads that go over many turns ---------------------------------------------------------------- */

#define MANY_KEYS 40000
#define TURN_NS   10000000

struct gathered {
    struct question q;
    struct buf bytes;
    unsigned parts, restarts;
};

static bool on_part(struct kv_request *r, const ProtobufCMessage *part)
{
    struct gathered *g = container_of(container_of(r, struct question, request), struct gathered, q);
    if (!part) {
        g->restarts++;
        g->bytes.size = 0;
        return true;
    }
    g->parts++;
    protobuf_c_message_pack(part, buf_reserve(&g->bytes, protobuf_c_message_get_packed_size(part)));
    g->bytes.size += protobuf_c_message_get_packed_size(part);
    return true;
}

static void on_last_part(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct gathered *g = container_of(container_of(r, struct question, request), struct gathered, q);
    if (response)
        on_part(r, response);
    g->q.is_done = true;
    g->q.err = err;
}

static struct gathered gather_new(void)
{
    return (struct gathered){.q.request = {.done = on_last_part, .on_part = on_part}};
}

static void fill(struct fixture *f, int count)
{
    enum { OPS = 100 };
    static char names[OPS][32], value[101];
    static Etcdserverpb__PutRequest puts[OPS];
    static Etcdserverpb__RequestOp ops[OPS], *list[OPS];
    memset(value, 'v', 100);
    for (int i = 0; i < count; i += OPS) {
        Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
        struct question q = {0};
        for (int k = 0; k < OPS; k++) {
            snprintf(names[k], sizeof names[k], "many/%08d", (i + k) * 7919 % 100000000);
            puts[k] = (Etcdserverpb__PutRequest)ETCDSERVERPB__PUT_REQUEST__INIT;
            puts[k].key = bytes(names[k]);
            puts[k].value = bytes(value);
            ops[k] = (Etcdserverpb__RequestOp)ETCDSERVERPB__REQUEST_OP__INIT;
            ops[k].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            ops[k].request_put = &puts[k];
            list[k] = &ops[k];
        }
        txn.success = list;
        txn.n_success = OPS;
        ASK(f, &q, kv_txn, &txn);
        assert_int_equal(q.err, OK);
        answer_done(&q);
    }
}

static Etcdserverpb__RangeRequest range_of_many(void)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = bytes("many/");
    m.range_end = bytes("many0");
    return m;
}

/* The answer to a plain request, without parts, at that revision. */
static void expect_same(struct fixture *f, const Etcdserverpb__RangeRequest *m, const struct gathered *g)
{
    struct question at_once = {0};
    Etcdserverpb__RangeRequest again = *m;
    Etcdserverpb__RangeResponse *got =
        etcdserverpb__range_response__unpack(NULL, g->bytes.size, g->bytes.data);
    assert_non_null(got);
    again.revision = got->header->revision;
    ASK(f, &at_once, kv_range, &again);
    assert_int_equal(at_once.err, OK);
    ((Etcdserverpb__RangeResponse *)at_once.response)->header->revision = got->header->revision;
    size_t size = protobuf_c_message_get_packed_size(at_once.response);
    uint8_t *want = mem_alloc(size);
    protobuf_c_message_pack(at_once.response, want);
    assert_int_equal(size, g->bytes.size);
    assert_memory_equal(want, g->bytes.data, size);
    mem_free(want);
    answer_done(&at_once);
    etcdserverpb__range_response__free_unpacked(got, NULL);
}

static void gathered_done(struct gathered *g)
{
    buf_done(&g->bytes);
}

/* In every order, with writes between the slices: one state, and no noticeably long turn. */
static void long_ranges_run_in_slices(void **state)
{
    struct fixture *f = *state;
    fill(f, MANY_KEYS);
    Etcdserverpb__RangeRequest requests[6];
    struct gathered reads[6];
    for (int i = 0; i < 6; i++)
        requests[i] = range_of_many();
    requests[1].limit = 15000;
    requests[2].sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    requests[3].sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD;
    requests[3].sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    requests[3].limit = 10000;
    requests[4].count_only = true;
    requests[5].min_mod_revision = 300;
    requests[5].keys_only = true;
    f->longest_turn_ns = 0;
    for (int i = 0; i < 6; i++) {
        reads[i] = gather_new();
        kv_range(f->kv, &reads[i].q.request, &requests[i]);
    }
    for (int i = 0; i < 50; i++)
        put(f, i % 2 ? "many/new" : "many/00007919", "w", 0);
    for (int i = 0; i < 6; i++) {
        wait_for(f, &reads[i].q);
        assert_int_equal(reads[i].q.err, OK);
        assert_int_equal(reads[i].restarts, 0);
        assert_true(reads[i].parts > 1);
    }
    if (!SANITIZED)
        assert_in_range(f->longest_turn_ns, 1, TURN_NS);
    for (int i = 0; i < 6; i++) {
        expect_same(f, &requests[i], &reads[i]);
        gathered_done(&reads[i]);
    }
}

static void compact(struct fixture *f, int64_t revision)
{
    struct question q = {0};
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    m.revision = revision;
    ASK(f, &q, kv_compact, &m);
    assert_int_equal(q.err, OK);
    answer_done(&q);
}

/* A request with a revision gets the error that it is compacted; a request for the newest state gets a newer
 * one. False: the compaction came too late, the disk was slow. */
static bool meet_a_compaction(struct fixture *f)
{
    Etcdserverpb__RangeRequest newest = range_of_many(), pinned = range_of_many();
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct gathered a = gather_new(), b = gather_new(), gone = gather_new();
    struct question compaction = {.request.done = on_done};
    newest.serializable = pinned.serializable = true;
    pinned.revision = put(f, "many/a", "1", 0);
    kv_range(f->kv, &a.q.request, &newest);
    kv_range(f->kv, &b.q.request, &pinned);
    kv_range(f->kv, &gone.q.request, &newest);
    m.revision = put(f, "many/a", "2", 0);
    kv_compact(f->kv, &compaction.request, &m);
    wait_for(f, &compaction);
    kv_cancel(f->kv, &gone.q.request);
    wait_for(f, &a.q);
    wait_for(f, &b.q);
    assert_int_equal(a.q.err, OK);
    if (a.restarts) /* else its revision may be compacted: nothing can be compared with it */
        expect_same(f, &newest, &a);
    bool has_met = b.q.err == ERR_COMPACTED && a.restarts == 1;
    if (!has_met)
        assert_int_equal(b.q.err, b.q.err ? ERR_COMPACTED : OK);
    answer_done(&compaction);
    gathered_done(&a);
    gathered_done(&b);
    gathered_done(&gone);
    return has_met;
}

static void long_ranges_meet_a_compaction(void **state)
{
    struct fixture *f = *state;
    fill(f, MANY_KEYS);
    int tries = 0;
    while (!meet_a_compaction(f))
        assert_true(++tries < 50);
}

/* More than may run at once; some are canceled while they run and while they wait. */
static void long_reads_take_turns(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 12 };
    static struct gathered reads[COUNT];
    Etcdserverpb__RangeRequest m = range_of_many();
    fill(f, MANY_KEYS / 2);
    for (int i = 0; i < COUNT; i++) {
        reads[i] = gather_new();
        kv_range(f->kv, &reads[i].q.request, &m);
    }
    put(f, "x", "y", 0);
    kv_cancel(f->kv, &reads[0].q.request);
    kv_cancel(f->kv, &reads[7].q.request);
    for (int i = 0; i < COUNT; i++) {
        if (i == 0 || i == 7)
            continue;
        wait_for(f, &reads[i].q);
        assert_int_equal(reads[i].q.err, OK);
        expect_same(f, &m, &reads[i]);
    }
    assert_false(reads[0].q.is_done || reads[7].q.is_done);
    /* A close ends the running ones and the waiting ones. */
    for (int i = 0; i < COUNT; i++) {
        gathered_done(&reads[i]);
        reads[i] = gather_new();
        kv_range(f->kv, &reads[i].q.request, &m);
    }
    put(f, "x", "z", 0);
    close_node(f);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(reads[i].q.err, ERR_STOPPED);
        gathered_done(&reads[i]);
    }
    open_node(f);
}

/* Repeats until a compaction came in between, at most so often. */
static int hash_meets_a_compaction(struct fixture *f)
{
    Etcdserverpb__HashKVRequest m = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct question hash = {.request.done = on_done};
    m.revision = put(f, "a", "1", 0);
    int64_t later = put(f, "a", "2", 0);
    kv_hash_kv(f->kv, &hash.request, &m);
    compact(f, later);
    wait_for(f, &hash);
    answer_done(&hash);
    return hash.err;
}

static void hashes_run_in_slices(void **state)
{
    struct fixture *f = *state;
    Etcdserverpb__HashKVRequest m = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    fill(f, MANY_KEYS);
    struct question before = {0}, during = {.request.done = on_done};
    m.revision = put(f, "a", "b", 0);
    f->longest_turn_ns = 0;
    ASK(f, &before, kv_hash_kv, &m);
    kv_hash_kv(f->kv, &during.request, &m);
    for (int i = 0; i < 20; i++)
        put(f, "a", "c", 0);
    wait_for(f, &during);
    if (!SANITIZED)
        assert_in_range(f->longest_turn_ns, 1, TURN_NS);
    Etcdserverpb__HashKVResponse *x = (Etcdserverpb__HashKVResponse *)before.response,
                                 *y = (Etcdserverpb__HashKVResponse *)during.response;
    assert_int_equal(x->hash, y->hash);
    assert_int_equal(x->hash_revision, y->hash_revision);
    int tries = 0;
    while (hash_meets_a_compaction(f) != ERR_COMPACTED)
        assert_true(++tries < 50);
    answer_done(&before);
    answer_done(&during);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(puts_survive_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(long_logs_are_cut_and_replayed, setup, teardown),
        cmocka_unit_test_setup_teardown(leases_are_granted_kept_and_revoked, setup, teardown),
        cmocka_unit_test_setup_teardown(chosen_lease_ids_ascend, setup, teardown),
        cmocka_unit_test_setup_teardown(leases_expire_through_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_requests_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(alarms_refuse_changes_and_no_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(physical_compaction_waits_for_the_sweep, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_answers_pending_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_wait_for_room, setup, teardown),
        cmocka_unit_test_setup_teardown(long_reads_leave_turns_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(long_ranges_run_in_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(long_ranges_meet_a_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(long_reads_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(hashes_run_in_slices, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
