/* SPDX-License-Identifier: Apache-2.0
 * Machines, mailboxes, requests; see cluster_world.h. */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "consensus/store/backend.h"

enum { DELAY_NS = 1000000 };

uint64_t world_catchup_entries = 5000;
size_t world_max_snapshots;
int64_t world_slice_units;
uint64_t world_check_interval_ms;
bool world_advances_ticks;

struct letter {
    struct sim_event event;
    struct world *world;
    uint64_t from, to;
    enum peer_stream stream;
    struct buf bytes;
};

/* --- mailboxes --------------------------------------------------------------------------------------- */

static struct machine *machine_of(struct peers *p)
{
    return (struct machine *)(void *)p;
}

static bool has_id(const uint64_t *list, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == id)
            return true;
    return false;
}

static struct machine *find_machine(struct world *w, uint64_t id)
{
    for (unsigned i = 0; i < WORLD_MACHINES; i++)
        if (id && w->machines[i].id == id)
            return &w->machines[i];
    return NULL;
}

static void deliver(struct sim_event *event)
{
    struct letter *l = container_of(event, struct letter, event);
    struct machine *to = find_machine(l->world, l->to), *from = find_machine(l->world, l->from);
    bool stands = to && from && to->kv && to->events && !to->is_cut && !from->is_cut &&
                  has_id(to->known, to->known_count, l->from);
    if (stands)
        to->events->on_message(to->events_arg, l->from, l->stream, buf_slice(&l->bytes));
    else if (to && from && to->kv && from->kv && from->events &&
             has_id(to->removed, to->removed_count, l->from))
        from->events->on_removed(from->events_arg, l->to);
    buf_done(&l->bytes);
    mem_free(l);
}

static void set_events(struct peers *p, const struct peer_events *events, void *arg)
{
    machine_of(p)->events = events;
    machine_of(p)->events_arg = arg;
}

static void set_identity(struct peers *p, uint64_t cluster_id, uint64_t member_id)
{
    (void)cluster_id;
    machine_of(p)->id = member_id;
}

static void set_member(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    struct machine *m = machine_of(p);
    assert_true(count > 0 && strncmp(urls[0], "http://", 7) == 0);
    if (!has_id(m->known, m->known_count, id))
        m->known[m->known_count++] = id;
}

static void remove_member(struct peers *p, uint64_t id)
{
    struct machine *m = machine_of(p);
    for (size_t i = 0; i < m->known_count; i++)
        if (m->known[i] == id)
            m->known[i--] = m->known[--m->known_count];
    m->removed[m->removed_count++] = id;
}

static bool send_letter(struct peers *p, uint64_t to, enum peer_stream stream, struct slice head,
                        struct slice body)
{
    struct machine *m = machine_of(p);
    assert_true(head.size + body.size <= PEER_MESSAGE_MAX);
    if (m->is_cut || !has_id(m->known, m->known_count, to))
        return false;
    struct letter *l = mem_new(sizeof *l);
    *l = (struct letter){.event.fire = deliver, .world = m->world, .from = m->id, .to = to, .stream = stream};
    buf_add_slice(&l->bytes, head);
    buf_add_slice(&l->bytes, body);
    sim_clock_add(&m->world->clock, &l->event, DELAY_NS);
    return true;
}

static size_t queued(struct peers *p, uint64_t to, enum peer_stream stream)
{
    (void)p, (void)to, (void)stream;
    return 0;
}

static void flush(struct peers *p)
{
    (void)p;
}

static void answer_question(struct peers *p, struct peer_served_query *question, struct slice text)
{
    (void)p, (void)question, (void)text;
}

static size_t round_trips(struct peers *p, struct peer_round_trip *ret_list, size_t max)
{
    struct machine *m = machine_of(p);
    size_t count = 0;
    for (size_t i = 0; i < m->known_count && count < max; i++) {
        const struct machine *other = find_machine(m->world, m->known[i]);
        bool stands = other && other->kv && !other->is_cut && !m->is_cut;
        ret_list[count++] = (struct peer_round_trip){.id = m->known[i], .active_since_ms = stands ? 1 : 0};
    }
    return count;
}

static const struct peer_ops mailbox_ops = {
    .set_events = set_events,
    .set_identity = set_identity,
    .set_member = set_member,
    .remove_member = remove_member,
    .send = send_letter,
    .queued = queued,
    .flush = flush,
    .answer = answer_question,
    .round_trips = round_trips,
};

/* --- members ----------------------------------------------------------------------------------------- */

static void on_ready(void *arg)
{
    ((struct machine *)arg)->is_ready = true;
}

static struct kv_options options_of(struct machine *m, struct kv_member_option *members)
{
    static const char *client_urls[] = {"http://127.0.0.1:1"};
    static const char *peer_urls[1];
    struct world *w = m->world;
    for (unsigned i = 0; i < w->bootstrap; i++)
        members[i] = (struct kv_member_option){w->machines[i].name, w->machines[i].url};
    peer_urls[0] = m->url;
    return (struct kv_options){
        .io = m->io,
        .peers = &m->peers,
        .backend_open = backend_memory_open,
        .data_dir = "/data",
        .name = m->name,
        .initial_cluster_token = "t",
        .initial_cluster = members,
        .initial_cluster_count = w->bootstrap,
        .peer_urls = peer_urls,
        .peer_url_count = 1,
        .client_urls = client_urls,
        .client_url_count = 1,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_catchup_entries = world_catchup_entries,
        .max_snapshots = world_max_snapshots,
        .slice_units = world_slice_units,
        .corrupt_check_interval_ms = world_check_interval_ms,
        .feature_level = m->feature_level,
        .request_bytes_max = 1572864,
        .txn_ops_max = 128,
        .commit_interval_ms = 100,
        .commit_ops = 10000,
        .compaction_batch = 1000,
        .compaction_sleep_ms = 10,
        .auto_compaction_mode = "periodic",
        .progress_interval_ms = 600000,
        .pre_vote = true,
        .strict_reconfig_check = true,
        .advances_ticks = world_advances_ticks,
    };
}

static int try_open(struct machine *m, bool force_new_cluster, const struct kv_join *join, char *error,
                    size_t size)
{
    struct kv_member_option members[WORLD_MACHINES];
    struct sim_io_options io = {.disk = m->disk,
                                .clock = &m->world->clock,
                                .seed = ++m->world->seed,
                                .job_max_ns = 200000,
                                .wall_offset_ns = 1700000000000000000};
    m->io = sim_io_new(&io);
    m->is_ready = m->is_closed = false;
    m->known_count = m->removed_count = 0;
    struct kv_options o = options_of(m, members);
    o.force_new_cluster = force_new_cluster;
    o.promotes_learners = m->promotes_learners;
    o.max_learners = m->max_learners;
    o.limits_learners_at_start = m->limits_learners_at_start;
    o.join = join;
    int err = kv_open(&o, error, size, &m->kv);
    if (!err)
        kv_on_ready(m->kv, on_ready, m);
    return err;
}

static void open_machine(struct machine *m, bool force_new_cluster, const struct kv_join *join)
{
    char error[300] = "";
    if (try_open(m, force_new_cluster, join, error, sizeof error) != OK)
        fail_msg("kv_open of %s: %s", m->name, error);
}

bool machine_try_start(struct machine *m, const struct kv_join *join, char *error, size_t size)
{
    if (try_open(m, false, join, error, size) == OK)
        return true;
    m->kv = NULL;
    while (!sim_io_is_idle(m->io))
        assert_true(sim_clock_step(&m->world->clock));
    sim_io_free(m->io);
    m->io = NULL;
    return false;
}

void machine_start(struct machine *m, bool force_new_cluster)
{
    open_machine(m, force_new_cluster, NULL);
}

void machine_join(struct machine *m, const struct kv_join *join)
{
    open_machine(m, false, join);
}

void world_step(struct world *w)
{
    for (unsigned i = 0; i < WORLD_MACHINES; i++)
        if (w->machines[i].kv && !sim_io_paused_until(w->machines[i].io)) {
            kv_turn(w->machines[i].kv);
            if (w->machines[i].turn)
                w->machines[i].turn(w->machines[i].arg);
        }
    assert_true(sim_clock_step(&w->clock));
}

void world_run_ms(struct world *w, uint64_t ms)
{
    uint64_t until = w->clock.now_ns + ms * 1000000;
    while (w->clock.now_ns < until)
        world_step(w);
}

static void on_closed(void *arg)
{
    ((struct machine *)arg)->is_closed = true;
}

static void finish_stop(struct machine *m)
{
    while (!m->is_closed || !sim_io_is_idle(m->io))
        assert_true(sim_clock_step(&m->world->clock));
    sim_io_free(m->io);
    m->io = NULL;
}

void machine_stop(struct machine *m)
{
    struct kv *kv = m->kv;
    m->kv = NULL; /* no more turns */
    kv_close(kv, on_closed, m);
    finish_stop(m);
}

/* Like kill -9 and a power cut. */
void machine_crash(struct machine *m)
{
    sim_io_kill(m->io);
    machine_stop(m);
    sim_disk_crash(m->disk, ++m->world->seed);
}

struct world *world_new(unsigned count)
{
    struct world *w = mem_new(sizeof *w);
    w->bootstrap = count;
    w->seed = 42;
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        struct machine *m = &w->machines[i];
        *m = (struct machine){.peers.ops = &mailbox_ops, .world = w};
        m->disk = sim_disk_new();
        snprintf(m->name, sizeof m->name, "m%u", i);
        snprintf(m->url, sizeof m->url, "http://10.0.0.%u:2380", i + 1);
    }
    for (unsigned i = 0; i < count; i++)
        machine_start(&w->machines[i], false);
    return w;
}

void world_free(struct world *w)
{
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        if (w->machines[i].kv)
            machine_stop(&w->machines[i]);
    }
    sim_clock_run(&w->clock);
    sim_clock_done(&w->clock);
    for (unsigned i = 0; i < WORLD_MACHINES; i++)
        sim_disk_free(w->machines[i].disk);
    mem_free(w);
}

struct machine *world_leader(struct world *w)
{
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        struct machine *m = &w->machines[i];
        if (m->kv && !m->is_cut && kv_leader(m->kv) == kv_member_id(m->kv))
            return m;
    }
    return NULL;
}

struct machine *world_follower(struct world *w)
{
    struct machine *leader = world_leader(w);
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        struct machine *m = &w->machines[i];
        if (m->kv && m != leader && !m->is_cut)
            return m;
    }
    return NULL;
}

/* All members that run and are not cut off follow one leader. */
struct machine *world_wait_for_leader(struct world *w)
{
    for (unsigned round = 0; round < 200; round++) {
        struct machine *leader = world_leader(w);
        bool agreed = leader != NULL;
        for (unsigned i = 0; i < WORLD_MACHINES; i++) {
            const struct machine *m = &w->machines[i];
            agreed = agreed && (!m->kv || m->is_cut || kv_leader(m->kv) == leader->id);
        }
        if (agreed)
            return leader;
        world_run_ms(w, 50);
    }
    fail_msg("no leader after ten seconds");
    return NULL;
}

/* --- requests ---------------------------------------------------------------------------------------- */

void question_on_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct question *q = container_of(r, struct question, request);
    assert_false(q->is_done);
    q->is_done = true;
    q->err = err;
    if (!err && response) {
        size_t size = protobuf_c_message_get_packed_size(response);
        uint8_t *bytes = mem_alloc(size + 1);
        protobuf_c_message_pack(response, bytes);
        q->response = protobuf_c_message_unpack(response->descriptor, NULL, size, bytes);
        mem_free(bytes);
    }
}

void question_done(struct question *q)
{
    if (q->response)
        protobuf_c_message_free_unpacked(q->response, NULL);
    *q = (struct question){0};
}

void world_wait_for(struct world *w, struct question *q)
{
    uint64_t until = w->clock.now_ns + 20000000000;
    while (!q->is_done && w->clock.now_ns < until)
        world_step(w);
    assert_true(q->is_done);
}

ProtobufCBinaryData world_bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

int world_put(struct machine *m, const char *key, const char *value, int64_t lease)
{
    struct question q = {0};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = world_bytes(key);
    put.value = world_bytes(value);
    put.lease = lease;
    ASK(m, &q, kv_put, &put);
    int err = q.err;
    question_done(&q);
    return err;
}

/* The value that a linearizable read through m returns; "" when there is none, NULL on an error. */
const char *world_get(struct machine *m, const char *key, int *ret_err)
{
    static char value[64];
    struct question q = {0};
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = world_bytes(key);
    ASK(m, &q, kv_range, &range);
    *ret_err = q.err;
    value[0] = '\0';
    if (!q.err && ((Etcdserverpb__RangeResponse *)q.response)->n_kvs)
        snprintf(value, sizeof value, "%.*s",
                 (int)((Etcdserverpb__RangeResponse *)q.response)->kvs[0]->value.len,
                 (const char *)((Etcdserverpb__RangeResponse *)q.response)->kvs[0]->value.data);
    question_done(&q);
    return value;
}

void world_expect(struct machine *m, const char *key, const char *value)
{
    int err;
    const char *found = world_get(m, key, &err);
    assert_int_equal(err, OK);
    assert_string_equal(found, value);
}

void world_expect_equal_stores(struct world *w)
{
    world_run_ms(w, 500);
    uint32_t hash = 0;
    bool is_first = true;
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        struct machine *m = &w->machines[i];
        if (!m->kv || m->is_cut)
            continue;
        struct question q = {0};
        Etcdserverpb__HashKVRequest h = ETCDSERVERPB__HASH_KVREQUEST__INIT;
        ASK(m, &q, kv_hash_kv, &h);
        assert_int_equal(q.err, OK);
        uint32_t found = ((Etcdserverpb__HashKVResponse *)q.response)->hash;
        question_done(&q);
        if (!is_first)
            assert_int_equal(found, hash);
        is_first = false;
        hash = found;
    }
}

void world_count_done(void *arg)
{
    ((struct machine *)arg)->done_count++;
}
