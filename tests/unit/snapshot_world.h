/* SPDX-License-Identifier: Apache-2.0
 * Members that send each other snapshots, for tests. Sender and receiver are the production code, on
 * simulated disks. The stream between them loses, stops and falsifies messages. The store and raft are
 * fakes. */
#ifndef TESTS_UNIT_SNAPSHOT_WORLD_H
#define TESTS_UNIT_SNAPSHOT_WORLD_H

#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "consensus/node/snapshot_receive.h"
#include "consensus/node/snapshot_send.h"
#include "tests/sim/sim_io.h"
#include "tests/unit/unit.h"

#define MEMBERS 4 /* 0 sends */

struct world;

struct machine {
    struct peers peers;
    struct world *world;
    unsigned number;
    struct sim_disk *disk;
    struct io *io;
    struct snapshot_send *send;
    struct snapshot_receive *receive;
    /* results of the callbacks */
    unsigned delivered, failed, copies, reports[MEMBERS], lost[MEMBERS];
    uint64_t delivered_index, delivered_term;
    bool refuses; /* raft does not want it */
    bool fails_copy, is_copying;
    unsigned parts; /* jobs in which the store writes a copy */
    uint64_t index; /* of the store */
    uint64_t seed;
    size_t size;
};

struct world {
    struct sim_clock clock;
    struct machine machines[MEMBERS];
    uint64_t random;
    unsigned loss;            /* of 1,000 messages */
    bool is_down;             /* all streams */
    size_t queued;            /* bytes in flight from machine 0 */
    uint64_t sent_data;       /* bytes of pieces that were sent */
    uint64_t corrupt_at;      /* this message is changed; counted by `messages` */
    bool corrupts_truthfully; /* with a checksum that holds */
    uint64_t messages;
    uint64_t free_ns[MEMBERS][MEMBERS]; /* when the stream is free again */
};

struct parcel {
    struct sim_event event;
    struct world *world;
    unsigned from, to;
    struct buf bytes;
};

static inline uint64_t id_of(unsigned number)
{
    return number + 1;
}

/* --- the stream -------------------------------------------------------------------------------- */

static inline void arrive(struct sim_event *event)
{
    struct parcel *p = container_of(event, struct parcel, event);
    struct world *w = p->world;
    struct machine *m = &w->machines[p->to];
    struct snapshot_packet words;
    struct arena arena = {0};
    if (p->from == 0)
        w->queued -= p->bytes.size;
    assert_true(p->bytes.size > 1 && p->bytes.data[0] == CODEC_SNAPSHOT);
    int err = snapshot_read(slice_of(p->bytes.data + 1, p->bytes.size - 1), &arena, &words);
    bool is_lost = w->is_down || sim_random(&w->random) % 1000 < w->loss;
    if (!err && !is_lost && m->io) {
        if (words.kind == SNAPSHOT_OFFER)
            snapshot_receive_offer(m->receive, id_of(p->from), &words.offer);
        else if (words.kind == SNAPSHOT_PIECE)
            snapshot_receive_piece(m->receive, id_of(p->from), &words.piece);
        else
            snapshot_send_answer(m->send, id_of(p->from), &words.answer);
    }
    arena_done(&arena);
    buf_done(&p->bytes);
    mem_free(p);
}

static inline bool stream_send(struct peers *peers, uint64_t to, enum peer_stream stream, struct slice head,
                               struct slice body)
{
    struct machine *m = container_of(peers, struct machine, peers);
    struct world *w = m->world;
    assert_int_equal(stream, PEER_STREAM_BULK);
    if (w->is_down)
        return false;
    struct parcel *p = mem_new(sizeof *p);
    p->event.fire = arrive;
    p->world = w;
    p->from = m->number;
    p->to = (unsigned)to - 1;
    buf_add_slice(&p->bytes, head);
    buf_add_slice(&p->bytes, body);
    w->sent_data += body.size;
    if (m->number == 0)
        w->queued += p->bytes.size;
    if (++w->messages == w->corrupt_at) {
        p->bytes.data[p->bytes.size - 1] ^= 1;
        if (w->corrupts_truthfully && body.size)
            put_le32(p->bytes.data + 18, crc32c(0, p->bytes.data + head.size, body.size));
    }
    uint64_t *free_ns = &w->free_ns[p->from][p->to];
    uint64_t begin_ns = *free_ns > w->clock.now_ns ? *free_ns : w->clock.now_ns;
    *free_ns = begin_ns + p->bytes.size * 10; /* 100 MB/s, in order */
    sim_clock_add(&w->clock, &p->event, *free_ns + 1000000 - w->clock.now_ns);
    return true;
}

static inline size_t stream_queued(struct peers *peers, uint64_t to, enum peer_stream stream)
{
    (void)to;
    (void)stream;
    return container_of(peers, struct machine, peers)->world->queued;
}

static const struct peer_ops stream_ops = {.send = stream_send, .queued = stream_queued};

/* --- the store and raft ------------------------------------------------------------------------ */

static inline void fill(struct buf *out, uint64_t seed, size_t size)
{
    while (out->size < size) {
        uint8_t word[8];
        put_le64(word, sim_random(&seed));
        buf_add(out, word, size - out->size < 8 ? size - out->size : 8);
    }
}

struct copying {
    struct worker_job job;
    struct machine *machine;
    char *path;
    struct buf content;
    unsigned parts; /* written */
    int err;
    void (*done)(void *arg, int err);
    void *arg;
};

static inline void copy_run(struct worker_job *job)
{
    struct copying *c = container_of(job, struct copying, job);
    struct io *io = c->machine->io;
    struct io_file *file;
    c->err = io->ops->open(io, c->path, true, &file);
    if (c->err)
        return;
    size_t from = c->content.size * c->parts / c->machine->parts;
    size_t to = c->content.size * ++c->parts / c->machine->parts;
    bool fails = c->machine->fails_copy && c->parts > c->machine->parts / 2;
    c->err = fails ? ERR_NO_DISK_SPACE : io->ops->write(io, file, from, c->content.data + from, to - from);
    io->ops->close(io, file);
}

static inline void copy_done(struct worker_job *job)
{
    struct copying *c = container_of(job, struct copying, job);
    if (!c->err && c->parts < c->machine->parts) {
        c->machine->io->ops->submit(c->machine->io, IO_WORKER_STORE, &c->job);
        return;
    }
    c->machine->is_copying = false;
    c->done(c->arg, c->err);
    buf_done(&c->content);
    mem_free(c->path);
    mem_free(c);
}

static inline void on_copy(void *arg, const char *path, struct raft_snapshot *ret_state,
                           void (*done)(void *done_arg, int err), void *done_arg)
{
    struct machine *m = arg;
    struct copying *c = mem_new(sizeof *c);
    *c = (struct copying){.machine = m, .path = mem_string(path), .done = done, .arg = done_arg};
    c->job = (struct worker_job){.run = copy_run, .done = copy_done};
    fill(&c->content, m->seed, m->size);
    *ret_state = (struct raft_snapshot){.index = m->index, .term = 3};
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_true(raft_ids_add(&ret_state->conf_state.voters, id_of(i)));
    m->copies++;
    m->is_copying = true;
    m->io->ops->submit(m->io, IO_WORKER_STORE, &c->job);
}

static inline void on_report(void *arg, uint64_t id, bool delivered)
{
    struct machine *m = arg;
    if (delivered)
        m->reports[id - 1]++;
    else
        m->lost[id - 1]++;
}

static inline void expect_file(struct machine *m, const struct machine *source)
{
    size_t inode;
    struct buf want = {0};
    fill(&want, source->seed, source->size);
    assert_true(sim_disk_find(m->disk, "data/snapshot-in", &inode));
    assert_true(slice_equal(sim_disk_content(m->disk, inode), buf_slice(&want)));
    buf_done(&want);
}

static inline bool on_deliver(void *arg, const struct raft_message *message)
{
    struct machine *m = arg;
    sim_disk_mark(m->disk, 1);
    assert_true(message->type == RAFT_MSG_SNAP && message->to == id_of(m->number));
    m->delivered++;
    m->delivered_index = message->snapshot->index;
    m->delivered_term = message->term;
    return !m->refuses;
}

static inline void on_receive_failed(void *arg, int err)
{
    assert_true(err != 0);
    ((struct machine *)arg)->failed++;
}

/* --- the world --------------------------------------------------------------------------------- */

static inline void machine_start(struct machine *m, uint64_t bytes_per_s)
{
    m->peers.ops = &stream_ops;
    m->io = sim_io_new(&(struct sim_io_options){.disk = m->disk,
                                                .clock = &m->world->clock,
                                                .seed = m->world->random + m->number,
                                                .job_min_ns = 50000,
                                                .job_max_ns = 2000000});
    m->send = snapshot_send_new(&(struct snapshot_send_options){.io = m->io,
                                                                .peers = &m->peers,
                                                                .dir = "data",
                                                                .bytes_per_s = bytes_per_s,
                                                                .give_up_ms = 30000,
                                                                .keep_ms = 30000,
                                                                .copy = on_copy,
                                                                .report = on_report,
                                                                .arg = m});
    m->receive = snapshot_receive_new(&(struct snapshot_receive_options){.io = m->io,
                                                                         .peers = &m->peers,
                                                                         .dir = "data",
                                                                         .member_id = id_of(m->number),
                                                                         .size_max = 64 << 20,
                                                                         .keep_ms = 60000,
                                                                         .deliver = on_deliver,
                                                                         .failed = on_receive_failed,
                                                                         .arg = m});
}

static inline void world_start(struct world *w, uint64_t seed, uint64_t bytes_per_s)
{
    *w = (struct world){.random = seed};
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct machine *m = &w->machines[i];
        *m = (struct machine){.world = w, .number = i, .seed = seed, .size = 3000017, .index = 1000};
        m->parts = 1 + (unsigned)(seed % 4) * 7;
        m->disk = sim_disk_new();
        machine_start(m, bytes_per_s);
    }
}

static inline void pass(struct world *w, uint64_t ms)
{
    uint64_t end = w->clock.now_ns + ms * 1000000;
    while (heap_first(&w->clock.events) && heap_first(&w->clock.events)->key <= end)
        sim_clock_step(&w->clock);
    w->clock.now_ns = end;
}

static inline void machine_close(struct machine *m)
{
    snapshot_send_close(m->send);
    snapshot_receive_close(m->receive);
    m->send = NULL;
    m->receive = NULL;
}

static inline void world_end(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        machine_close(&w->machines[i]);
    for (unsigned i = 0; i < MEMBERS; i++)
        w->machines[i].refuses = true;
    w->is_down = true;
    sim_clock_run(&w->clock);
    for (unsigned i = 0; i < MEMBERS; i++) {
        sim_io_free(w->machines[i].io);
        sim_disk_free(w->machines[i].disk);
    }
    sim_clock_done(&w->clock);
}

static inline void start(struct world *w, unsigned to, uint64_t term)
{
    struct raft_snapshot offered = {.index = w->machines[0].index, .term = 3};
    struct raft_message m = {
        .type = RAFT_MSG_SNAP, .from = id_of(0), .to = id_of(to), .term = term, .snapshot = &offered};
    snapshot_send_start(w->machines[0].send, &m, 900);
}

static inline size_t file_count(const struct machine *m)
{
    struct buf names = {0};
    size_t count = 0;
    sim_disk_list(m->disk, "data", &names);
    for (size_t i = 0; i < names.size; i++)
        count += names.data[i] == 0;
    buf_done(&names);
    return count;
}

/* The bytes in the receiver's part. */
static inline size_t part_size(const struct machine *m)
{
    size_t inode;
    return sim_disk_find(m->disk, "data/snapshot-in.tmp", &inode) ? sim_disk_content(m->disk, inode).size : 0;
}

#endif
