/* SPDX-License-Identifier: Apache-2.0
 * Sender's side of a snapshot transfer; see snapshot_send.h.
 *
 *   phase    | what happens                                            | next
 *   ---------+---------------------------------------------------------+------------------------------
 *   WAITING  | nothing of the copy is there yet                        | the copy has bytes: OFFERED
 *   OFFERED  | the member is asked for its offset; repeated without    | its answer: SENDING
 *            | an answer                                               |
 *   SENDING  | pieces leave as window, stream and rate allow; answers  | silence, a reconnected stream, or
 *            | move the window                                         | an unknown transfer: OFFERED
 *   ENDED    | the outcome is reported at the next tick                | freed
 *
 * A transfer ends with the member's final answer, or without progress for give_up_ms. A piece or an answer
 * may be lost anywhere: the member reports the offset of its gap, or silence leads back to OFFERED. A
 * repeated offer loses nothing.
 *
 * The copy grows meanwhile:
 *   1. The store writes the file from beginning to end on its own worker.
 *   2. The bytes that are there are read, digested and sent. The first offers have no size.
 *   3. COPY_READY: the file is complete and its digest known. The offer is repeated with both. Without it no
 *      member accepts the file. */
#include "consensus/node/snapshot_send.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/metric_family.h"

#define TRANSFERS_MAX  4
#define TICK_MS        10
#define IDLE_TICK_MS   1000
#define CHUNK_SIZE     (1u << 20) /* read by one job */
#define DIGEST_READ    (256u << 10)
#define DIGEST_STEP    (4u << 20) /* digested by one job */
#define WINDOW_BYTES   (8u << 20) /* what the receiver accepts before it has written any of it */
#define QUEUED_MAX     (3u << 20) /* bytes in the stream's queue, above which no further piece is added */
#define OFFER_AGAIN_MS 1000
#define SILENCE_MS     3000
#define LOG_EVERY_MS   5000
#define KEEP_LOG_MS    10000 /* the log is kept after the end: the member must still report its index */

enum copy_phase { COPY_GROWING, COPY_READY, COPY_FAILED };

/* One state of the store in a file, for all members that need it in time. */
struct copy {
    struct link link;
    struct snapshot_send *owner;
    enum copy_phase phase;
    uint64_t id;
    uint64_t size; /* bytes of the file that can be sent; all of it in COPY_READY */
    char *path;
    struct raft_snapshot state;
    uint8_t digest[SNAPSHOT_DIGEST_SIZE];
    int err; /* of the store's copying, or of a job */
    unsigned users;
    uint64_t unused_since_ms;
    bool is_copying;     /* the store writes it */
    bool is_job_running; /* the worker has it */
    bool is_dropped;     /* that job deletes it */

    /* Only the worker uses these while a job is running. */
    struct worker_job job;
    struct io_file *file; /* chunks are read from it, too: by the same worker */
    struct sha256 *sha;
    uint8_t *buffer;
    uint64_t written, digested;
    bool was_whole; /* written is the whole size: the store was done before the job began */
    int job_err;
};

enum transfer_phase { TRANSFER_WAITING, TRANSFER_OFFERED, TRANSFER_SENDING, TRANSFER_ENDED };

struct transfer {
    struct link link;
    struct snapshot_send *owner;
    enum transfer_phase phase;
    uint64_t to;
    struct raft_message message; /* points to the copy's state */
    struct copy *copy;           /* NULL = it is not needed any more */
    uint64_t index;              /* of the copy */
    uint64_t sent, acked;
    uint64_t started_ms, offered_ms, answered_ms, progress_ms, logged_ms, ended_ms;
    uint64_t tokens, refilled_ns;
    bool knows_size;  /* the copy's size and digest were offered */
    bool must_report; /* the outcome is known: report it at the next tick */
    bool is_delivered;
    struct {
        struct worker_job job;
        uint8_t *data;
        uint64_t at;
        size_t size;
        bool is_job_running;
        int err;
    } chunk;
};

struct snapshot_send {
    struct snapshot_send_options options;
    char *dir;
    struct link copies, transfers;
    struct io_timer timer;
    bool is_ticking, is_closed;
    struct buf out;
};

static uint64_t snapshot_send_now_ms(const struct snapshot_send *s)
{
    return s->options.io->ops->mono_ns(s->options.io) / 1000000;
}

static void snapshot_send_submit(struct snapshot_send *s, struct worker_job *job)
{
    s->options.io->ops->submit(s->options.io, IO_WORKER_SNAPSHOT, job);
}

static void start_tick(struct snapshot_send *s)
{
    if (s->is_ticking || s->is_closed)
        return;
    s->is_ticking = true;
    s->options.io->ops->timer_start(s->options.io, &s->timer, TICK_MS);
}

/* --- end of a transfer ------------------------------------------------------------------------- */

static void free_when_closed(struct snapshot_send *s)
{
    if (!s->is_closed || !list_is_empty(&s->copies) || !list_is_empty(&s->transfers))
        return;
    buf_done(&s->out);
    mem_free(s->dir);
    mem_free(s);
}

static void copy_free(struct copy *c)
{
    list_remove(&c->link);
    if (c->sha)
        sha256_finish(c->sha, c->digest);
    if (c->state.data)
        blob_unref(c->state.data);
    mem_free(c->buffer);
    mem_free(c->path);
    mem_free(c);
}

static void drop_run(struct worker_job *job)
{
    struct copy *c = container_of(job, struct copy, job);
    struct io *io = c->owner->options.io;
    if (c->file)
        io->ops->close(io, c->file);
    (void)io->ops->unlink(io, c->path); /* else it is deleted at the next start */
}

static void drop_done(struct worker_job *job)
{
    struct copy *c = container_of(job, struct copy, job);
    struct snapshot_send *s = c->owner;
    copy_free(c);
    free_when_closed(s);
}

static bool copy_is_busy(const struct copy *c)
{
    return c->is_job_running || c->is_copying;
}

/* Deletes a copy without users. Not while the store writes it or a job is running: that ends first. */
static void copy_drop_if_idle(struct copy *c)
{
    if (copy_is_busy(c))
        return;
    c->is_job_running = c->is_dropped = true;
    c->job = (struct worker_job){.run = drop_run, .done = drop_done};
    snapshot_send_submit(c->owner, &c->job);
}

static void transfer_free(struct transfer *t)
{
    struct snapshot_send *s = t->owner;
    if (t->chunk.is_job_running)
        return; /* its job ends first */
    list_remove(&t->link);
    mem_free(t->chunk.data);
    mem_free(t);
    free_when_closed(s);
}

static void release_copy(struct transfer *t)
{
    if (!t->copy)
        return;
    t->copy->unused_since_ms = snapshot_send_now_ms(t->owner);
    t->copy->users--;
    t->copy = NULL;
}

/* The outcome is reported at the next tick, so that raft is never called from inside its own turn. */
static void transfer_end(struct transfer *t, bool is_delivered, const char *why)
{
    uint64_t now = snapshot_send_now_ms(t->owner);
    if (t->phase == TRANSFER_ENDED)
        return;
    if (is_delivered)
        log_info("sent a snapshot", F_HEX("to", t->to), F_UINT("index", t->index),
                 F_UINT("size", t->copy->size), F_UINT("took-ms", now - t->started_ms));
    else
        log_warn("a snapshot was not delivered", F_HEX("to", t->to), F_STR("why", why),
                 F_UINT("acknowledged-bytes", t->acked), F_UINT("took-ms", now - t->started_ms));
    metric_series_set(metric_series_of_member(FAMILY_SNAPSHOT_SENDS, "To", t->to), 0);
    metric_series_add(metric_series_of_member(
                          is_delivered ? FAMILY_SNAPSHOT_SENT : FAMILY_SNAPSHOT_SEND_FAILURES, "To", t->to),
                      1);
    if (is_delivered)
        metric_series_observe(metric_series_of_member(FAMILY_SNAPSHOT_SEND_TIME, "To", t->to),
                              (double)(now - t->started_ms) / 1000, 1);
    t->phase = TRANSFER_ENDED;
    t->ended_ms = now;
    t->must_report = true;
    t->is_delivered = is_delivered;
    start_tick(t->owner);
}

/* --- copies ------------------------------------------------------------------------------------ */

static void copy_failed(struct copy *c, int err)
{
    if (c->phase != COPY_FAILED)
        log_error("a copy of the store for another member failed", F_STR("path", c->path), F_ERR(err));
    c->phase = COPY_FAILED;
    c->err = err;
    start_tick(c->owner);
}

/* Opens the file and reads its size. The store may not have created it yet. */
static int read_file_size(struct copy *c)
{
    struct io *io = c->owner->options.io;
    if (!c->file) {
        int err = io->ops->open(io, c->path, false, &c->file);
        if (err)
            return err == ERR_NOT_FOUND && !c->was_whole ? 0 : err;
    }
    return io->ops->size(io, c->file, &c->written);
}

static void digest_run(struct worker_job *job)
{
    struct copy *c = container_of(job, struct copy, job);
    struct io *io = c->owner->options.io;
    c->job_err = read_file_size(c);
    uint64_t end = c->written - c->digested < DIGEST_STEP ? c->written : c->digested + DIGEST_STEP;
    while (!c->job_err && c->digested < end) {
        size_t got = 0, most = end - c->digested < DIGEST_READ ? (size_t)(end - c->digested) : DIGEST_READ;
        c->job_err = io->ops->read(io, c->file, c->digested, c->buffer, most, &got);
        if (!c->job_err && got == 0)
            c->job_err = ERR_IO;
        sha256_add(c->sha, c->buffer, got);
        c->digested += got;
    }
}

static void digest_more(struct copy *c);
static void offer_size(struct transfer *t);
static void send_pieces(struct transfer *t);

static void copy_is_ready(struct copy *c)
{
    sha256_finish(c->sha, c->digest);
    c->sha = NULL;
    mem_free(c->buffer);
    c->buffer = NULL;
    c->phase = COPY_READY;
    LIST_FOR_EACH (l, &c->owner->transfers) {
        struct transfer *t = container_of(l, struct transfer, link);
        if (t->copy == c)
            offer_size(t);
    }
    start_tick(c->owner);
}

static void digest_done(struct worker_job *job)
{
    struct copy *c = container_of(job, struct copy, job);
    c->is_job_running = false;
    if (c->owner->is_closed) {
        copy_drop_if_idle(c);
        return;
    }
    if (c->job_err)
        copy_failed(c, c->job_err);
    if (c->phase != COPY_GROWING)
        return;
    c->size = c->written;
    LIST_FOR_EACH (l, &c->owner->transfers) {
        struct transfer *t = container_of(l, struct transfer, link);
        if (t->copy == c)
            send_pieces(t);
    }
    if (c->was_whole && c->digested == c->size)
        copy_is_ready(c);
    else if (c->digested < c->size)
        digest_more(c);
    /* else on_copied or the next tick continues */
}

/* Reads and digests what the store has written meanwhile. */
static void digest_more(struct copy *c)
{
    if (c->is_job_running || c->phase != COPY_GROWING)
        return;
    c->is_job_running = true;
    c->was_whole = !c->is_copying;
    c->job = (struct worker_job){.run = digest_run, .done = digest_done};
    snapshot_send_submit(c->owner, &c->job);
}

static void on_copied(void *arg, int err)
{
    struct copy *c = arg;
    c->is_copying = false;
    if (c->owner->is_closed) {
        copy_drop_if_idle(c);
        return;
    }
    if (err)
        copy_failed(c, err);
    digest_more(c);
}

static struct copy *copy_new(struct snapshot_send *s)
{
    struct copy *c = mem_new(sizeof *c);
    struct buf path = {0};
    c->owner = s;
    c->id = s->options.io->ops->random(s->options.io) | 1;
    buf_addf(&path, "%s/snapshot-out-%016llx.tmp", s->dir, (unsigned long long)c->id);
    c->path = mem_string(buf_text(&path));
    buf_done(&path);
    c->unused_since_ms = snapshot_send_now_ms(s);
    list_add_last(&s->copies, &c->link);
    c->sha = sha256_new();
    c->buffer = mem_alloc(DIGEST_READ);
    c->is_copying = true;
    s->options.copy(s->options.arg, c->path, &c->state, on_copied, c);
    return c;
}

static bool is_member(const struct raft_conf_state *c, uint64_t id)
{
    return raft_ids_has(&c->voters, id) || raft_ids_has(&c->voters_outgoing, id) ||
           raft_ids_has(&c->learners, id);
}

/* Copies without users that this member cannot use are useless for the next member, too. So the disk never
 * holds more copies than there are transfers, and one. */
static void drop_unused(struct snapshot_send *s)
{
    LIST_FOR_EACH_SAFE (l, &s->copies) {
        struct copy *c = container_of(l, struct copy, link);
        if (!c->users)
            copy_drop_if_idle(c);
    }
}

/* A copy that the log still follows and whose configuration has the member, or a new one. Raft on the member
 * would refuse a configuration without it. */
static struct copy *copy_for(struct snapshot_send *s, uint64_t to, uint64_t log_begin)
{
    LIST_FOR_EACH (l, &s->copies) {
        struct copy *c = container_of(l, struct copy, link);
        if (c->phase != COPY_FAILED && !c->is_dropped && c->state.index >= log_begin &&
            is_member(&c->state.conf_state, to))
            return c;
    }
    drop_unused(s);
    return copy_new(s);
}

/* --- sending ----------------------------------------------------------------------------------- */

/* Offers the copy, with size and digest when it is ready. False: the stream did not accept the message. */
static bool send_offer(struct transfer *t)
{
    struct snapshot_send *s = t->owner;
    struct peers *p = s->options.peers;
    bool is_ready = t->copy->phase == COPY_READY;
    struct snapshot_offer o = {.id = t->copy->id, .message = t->message};
    if (is_ready) {
        o.size = t->copy->size;
        memcpy(o.digest, t->copy->digest, sizeof o.digest);
    }
    buf_clear(&s->out);
    snapshot_add_offer(&s->out, &o);
    if (!p->ops->send(p, t->to, PEER_STREAM_BULK, buf_slice(&s->out), (struct slice){0}))
        return false;
    t->knows_size = is_ready;
    return true;
}

static void offer(struct transfer *t)
{
    t->phase = TRANSFER_OFFERED;
    t->offered_ms = snapshot_send_now_ms(t->owner);
    (void)send_offer(t); /* repeated after OFFER_AGAIN_MS */
}

/* Offers size and digest after the pieces on the way, which continue. If the offer is lost, silence leads to
 * the next one. */
static void offer_size(struct transfer *t)
{
    bool is_due = t->phase == TRANSFER_OFFERED || t->phase == TRANSFER_SENDING;
    if (is_due && t->copy->phase == COPY_READY && !t->knows_size)
        (void)send_offer(t); /* else at the next tick */
}

static void chunk_run(struct worker_job *job)
{
    struct transfer *t = container_of(job, struct transfer, chunk.job);
    struct io *io = t->owner->options.io;
    size_t got = 0;
    t->chunk.err = io->ops->read(io, t->copy->file, t->chunk.at, t->chunk.data, t->chunk.size, &got);
    if (!t->chunk.err && got == 0)
        t->chunk.err = ERR_IO;
    t->chunk.size = got;
}

static void chunk_done(struct worker_job *job)
{
    struct transfer *t = container_of(job, struct transfer, chunk.job);
    t->chunk.is_job_running = false;
    if (t->phase == TRANSFER_ENDED) {
        release_copy(t);
        if (!t->must_report)
            transfer_free(t);
    } else if (t->chunk.err) {
        transfer_end(t, false, "the copy cannot be read");
    } else {
        send_pieces(t);
    }
}

static void chunk_read(struct transfer *t)
{
    if (!t->chunk.data)
        t->chunk.data = mem_alloc(CHUNK_SIZE);
    t->chunk.at = t->sent;
    uint64_t left = t->copy->size - t->sent;
    t->chunk.size = left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
    t->chunk.is_job_running = true;
    t->chunk.job = (struct worker_job){.run = chunk_run, .done = chunk_done};
    snapshot_send_submit(t->owner, &t->chunk.job);
}

/* A token bucket for a tenth of a second, at least one piece. */
static bool take_tokens(struct transfer *t, size_t size)
{
    struct snapshot_send *s = t->owner;
    uint64_t rate = s->options.bytes_per_s;
    if (!rate)
        return true;
    uint64_t now_ns = s->options.io->ops->mono_ns(s->options.io);
    uint64_t most = rate / 10 > SNAPSHOT_PIECE_MAX ? rate / 10 : SNAPSHOT_PIECE_MAX;
    uint64_t passed_us = (now_ns - t->refilled_ns) / 1000;
    uint64_t more = passed_us > 10000000 ? most : (uint64_t)((double)rate * (double)passed_us / 1e6);
    if (more) {
        t->tokens = t->tokens + more < most ? t->tokens + more : most;
        t->refilled_ns = now_ns;
    }
    if (t->tokens < size)
        return false;
    t->tokens -= size;
    return true;
}

static size_t piece_size(const struct transfer *t)
{
    size_t left = (size_t)(t->chunk.at + t->chunk.size - t->sent);
    return left < SNAPSHOT_PIECE_MAX ? left : SNAPSHOT_PIECE_MAX;
}

static bool send_piece(struct transfer *t)
{
    struct peers *p = t->owner->options.peers;
    size_t size = piece_size(t);
    const uint8_t *data = t->chunk.data + (t->sent - t->chunk.at);
    uint8_t header[SNAPSHOT_PIECE_HEADER];
    snapshot_piece_header(header, t->copy->id, t->sent, crc32c(0, data, size));
    if (!p->ops->send(p, t->to, PEER_STREAM_BULK, slice_of(header, sizeof header), slice_of(data, size))) {
        t->tokens += size;
        return false;
    }
    t->sent += size;
    return true;
}

/* Sends as many pieces as window, stream and rate allow. */
static void send_pieces(struct transfer *t)
{
    struct peers *p = t->owner->options.peers;
    while (t->phase == TRANSFER_SENDING && t->sent < t->copy->size && t->sent - t->acked < WINDOW_BYTES &&
           p->ops->queued(p, t->to, PEER_STREAM_BULK) < QUEUED_MAX) {
        if (t->chunk.is_job_running)
            return;
        if (t->sent < t->chunk.at || t->sent >= t->chunk.at + t->chunk.size) {
            chunk_read(t);
            return;
        }
        if (!take_tokens(t, piece_size(t)) || !send_piece(t))
            return;
    }
}

/* --- timer ------------------------------------------------------------------------------------- */

static void log_progress(struct transfer *t, uint64_t now)
{
    if (now - t->logged_ms < LOG_EVERY_MS)
        return;
    t->logged_ms = now;
    log_info("sending a snapshot", F_HEX("to", t->to), F_UINT("index", t->index),
             F_UINT("acknowledged-bytes", t->acked), F_UINT("size", t->copy->size),
             F_UINT("for-ms", now - t->started_ms));
}

static void transfer_tick(struct transfer *t, uint64_t now)
{
    struct copy *c = t->copy;
    if (c->phase == COPY_FAILED) {
        transfer_end(t, false, err_text(c->err));
        return;
    }
    /* Time for making a copy does not count as silence: a member that has all sent bytes waits like this
     * one. */
    if (t->phase == TRANSFER_WAITING || (c->phase == COPY_GROWING && t->acked == t->sent))
        t->progress_ms = t->answered_ms = now;
    if (t->phase == TRANSFER_WAITING) {
        if (c->size)
            offer(t);
        return;
    }
    offer_size(t);
    if (now - t->progress_ms >= t->owner->options.give_up_ms)
        transfer_end(t, false, "no progress");
    else if (t->phase == TRANSFER_OFFERED && now - t->offered_ms >= OFFER_AGAIN_MS)
        offer(t);
    else if (t->phase == TRANSFER_SENDING && now - t->answered_ms >= SILENCE_MS && t->acked < t->sent)
        offer(t);
    else if (t->phase == TRANSFER_SENDING && now - t->answered_ms >= SILENCE_MS && t->sent == c->size)
        offer(t);
    if (t->phase == TRANSFER_SENDING)
        send_pieces(t);
    if (t->phase != TRANSFER_ENDED)
        log_progress(t, now);
}

static void ended_tick(struct transfer *t, uint64_t now)
{
    struct snapshot_send *s = t->owner;
    if (t->must_report) {
        t->must_report = false;
        s->options.report(s->options.arg, t->to, t->is_delivered);
    }
    if (!t->chunk.is_job_running)
        release_copy(t);
    if (!t->is_delivered || now - t->ended_ms >= KEEP_LOG_MS)
        transfer_free(t);
}

static void snapshot_send_on_timer(struct io_timer *timer)
{
    struct snapshot_send *s = container_of(timer, struct snapshot_send, timer);
    uint64_t now = snapshot_send_now_ms(s);
    s->is_ticking = false;
    LIST_FOR_EACH_SAFE (l, &s->transfers) {
        struct transfer *t = container_of(l, struct transfer, link);
        if (t->phase == TRANSFER_ENDED)
            ended_tick(t, now);
        else
            transfer_tick(t, now);
    }
    LIST_FOR_EACH_SAFE (l, &s->copies) {
        struct copy *c = container_of(l, struct copy, link);
        bool is_old = now - c->unused_since_ms >= s->options.keep_ms;
        if (!c->users && (is_old || c->phase == COPY_FAILED))
            copy_drop_if_idle(c);
        else
            digest_more(c);
    }
    bool is_idle = !snapshot_send_is_busy(s);
    if (s->is_ticking)
        return; /* a call above started the tick */
    if (!is_idle) {
        start_tick(s);
    } else if (!list_is_empty(&s->copies) || !list_is_empty(&s->transfers)) {
        s->is_ticking = true;
        s->options.io->ops->timer_start(s->options.io, &s->timer, IDLE_TICK_MS);
    }
}

/* --- public API -------------------------------------------------------------------------------- */

struct snapshot_send *snapshot_send_new(const struct snapshot_send_options *options)
{
    struct snapshot_send *s = mem_new(sizeof *s);
    s->options = *options;
    s->dir = mem_string(options->dir);
    s->timer.fire = snapshot_send_on_timer;
    list_init(&s->copies);
    list_init(&s->transfers);
    return s;
}

static struct transfer *snapshot_send_find(struct snapshot_send *s, uint64_t to)
{
    LIST_FOR_EACH (l, &s->transfers) {
        struct transfer *t = container_of(l, struct transfer, link);
        if (t->to == to && t->phase != TRANSFER_ENDED)
            return t;
    }
    return NULL;
}

static size_t active_count(const struct snapshot_send *s)
{
    size_t count = 0;
    LIST_FOR_EACH (l, &s->transfers)
        count += container_of(l, struct transfer, link)->phase != TRANSFER_ENDED;
    return count;
}

/* Ends a transfer without a report: the caller does not need the outcome any more. */
static void snapshot_send_cancel(struct transfer *t)
{
    t->phase = TRANSFER_ENDED;
    t->must_report = t->is_delivered = false;
    if (!t->chunk.is_job_running) {
        release_copy(t);
        transfer_free(t);
    }
}

void snapshot_send_start(struct snapshot_send *s, const struct raft_message *m, uint64_t log_begin)
{
    struct transfer *t = snapshot_send_find(s, m->to);
    if (t)
        snapshot_send_cancel(t);
    uint64_t now = snapshot_send_now_ms(s);
    bool is_too_many = active_count(s) >= TRANSFERS_MAX;
    t = mem_new(sizeof *t);
    t->owner = s;
    t->to = m->to;
    t->started_ms = t->answered_ms = t->progress_ms = t->logged_ms = now;
    list_add_last(&s->transfers, &t->link);
    metric_series_set(metric_series_of_member(FAMILY_SNAPSHOT_SENDS, "To", t->to), 1);
    start_tick(s);
    if (is_too_many) {
        transfer_end(t, false, "too many at once");
        return;
    }
    t->copy = copy_for(s, m->to, log_begin);
    t->copy->users++;
    t->message = *m;
    t->message.snapshot = &t->copy->state;
    t->index = t->copy->state.index;
    log_info("a member needs a snapshot", F_HEX("to", t->to), F_UINT("index", t->copy->state.index),
             F_UINT("term", t->copy->state.term), F_BOOL("is-shared", t->copy->users > 1));
}

void snapshot_send_answer(struct snapshot_send *s, uint64_t from, const struct snapshot_answer *answer)
{
    struct transfer *t = snapshot_send_find(s, from);
    if (!t || t->phase == TRANSFER_WAITING || answer->id != t->copy->id || answer->offset > t->copy->size)
        return;
    uint64_t now = snapshot_send_now_ms(s);
    t->answered_ms = now;
    switch (answer->status) {
    case SNAPSHOT_CONTINUE:
    case SNAPSHOT_GAP:
        /* All bytes are there and are being checked: that counts as progress. */
        if (answer->offset > t->acked || answer->offset == t->copy->size)
            t->progress_ms = now;
        if (t->phase == TRANSFER_OFFERED || answer->status == SNAPSHOT_GAP || answer->offset > t->sent)
            t->sent = answer->offset;
        if (t->phase == TRANSFER_OFFERED || answer->status == SNAPSHOT_GAP || answer->offset > t->acked)
            t->acked = answer->offset;
        t->phase = TRANSFER_SENDING;
        send_pieces(t);
        break;
    case SNAPSHOT_UNKNOWN:
        if (t->phase == TRANSFER_SENDING)
            offer(t);
        break;
    case SNAPSHOT_ACCEPTED:
        transfer_end(t, true, NULL);
        break;
    case SNAPSHOT_REFUSED:
        transfer_end(t, false, "the member refuses it");
        break;
    case SNAPSHOT_STATUS_COUNT:
        break;
    }
}

void snapshot_send_reachable(struct snapshot_send *s, uint64_t id)
{
    struct transfer *t = snapshot_send_find(s, id);
    if (t && (t->phase == TRANSFER_OFFERED || t->phase == TRANSFER_SENDING))
        offer(t);
}

void snapshot_send_forget(struct snapshot_send *s, uint64_t id)
{
    struct transfer *t = snapshot_send_find(s, id);
    if (t)
        snapshot_send_cancel(t);
}

void snapshot_send_stop(struct snapshot_send *s)
{
    LIST_FOR_EACH_SAFE (l, &s->transfers)
        snapshot_send_cancel(container_of(l, struct transfer, link));
}

uint64_t snapshot_send_needs(const struct snapshot_send *s)
{
    uint64_t least = UINT64_MAX;
    LIST_FOR_EACH (l, &s->transfers) {
        const struct transfer *t = container_of(l, struct transfer, link);
        bool is_needed = t->phase != TRANSFER_ENDED || t->is_delivered;
        if (is_needed && t->index < least)
            least = t->index;
    }
    return least;
}

bool snapshot_send_is_busy(const struct snapshot_send *s)
{
    return active_count(s) > 0;
}

void snapshot_send_close(struct snapshot_send *s)
{
    if (!s)
        return;
    s->options.io->ops->timer_stop(s->options.io, &s->timer);
    snapshot_send_stop(s);
    s->is_closed = true;
    LIST_FOR_EACH_SAFE (l, &s->copies) {
        struct copy *c = container_of(l, struct copy, link);
        copy_drop_if_idle(c);
    }
    free_when_closed(s);
}

int snapshot_send_clean(struct io *io, const char *dir)
{
    static const char prefix[] = "snapshot-", suffix[] = ".tmp";
    struct buf names = {0}, path = {0};
    int err = io->ops->list(io, dir, &names);
    if (err == ERR_NOT_FOUND)
        err = 0; /* no folder, no files */
    for (size_t at = 0; !err && at < names.size;) {
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        size_t size = strlen(name);
        bool is_copy = size > sizeof prefix + sizeof suffix &&
                       strncmp(name, prefix, sizeof prefix - 1) == 0 &&
                       strcmp(name + size - (sizeof suffix - 1), suffix) == 0;
        if (!is_copy)
            continue;
        buf_clear(&path);
        buf_addf(&path, "%s/%s", dir, name);
        err = io->ops->unlink(io, buf_text(&path));
    }
    buf_done(&names);
    buf_done(&path);
    return err;
}
