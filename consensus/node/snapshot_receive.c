/* SPDX-License-Identifier: Apache-2.0
 * Receiver's side of a snapshot transfer; see snapshot_receive.h.
 *
 *   phase      | what happens                                               | next
 *   -----------+------------------------------------------------------------+-----------------------------
 *   IDLE       | no transfer                                                | an offer: OPENING
 *   OPENING    | an old part is deleted, the file is created                | RECEIVING
 *   RECEIVING  | pieces in order; each job takes the bytes that came since  | all bytes are written:
 *              | the last job: writes and digests them, starts write-back   | CHECKING
 *   CHECKING   | the digest is compared, file synced, renamed, folder synced| DELIVERED
 *   DELIVERED  | raft has it; no other offer is accepted                    | snapshot_receive_done: IDLE
 *   DROPPING   | the part is deleted: an error, a newer offer, no progress  | IDLE, or OPENING for the
 *              |                                                            | newer offer
 *
 * Size and digest may come after the first pieces: the sender's copy still grows then.
 *
 * Failures: without space on the disk the transfer is refused and the part deleted. Any other disk error
 * is final. A crash before the name is durable leaves a part, which the next start deletes. A crash after it
 * leaves a complete file; the log says whether the member waits for it. */
#include "consensus/node/snapshot_receive.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/metric_family.h"
#include "base/mutant.h"

#define PART_NAME   "snapshot-in.tmp"
#define WHOLE_NAME  "snapshot-in"
#define WAITING_MAX (9u << 20) /* bytes received and not written: the sender's window, and 1 MiB */
#define TOO_LARGE   "it is larger than a store can be"
#define TICK_MS     1000

enum phase { PHASE_IDLE, PHASE_OPENING, PHASE_RECEIVING, PHASE_CHECKING, PHASE_DELIVERED, PHASE_DROPPING };

struct snapshot_receive {
    struct snapshot_receive_options options;
    char *dir, *part, *whole;
    enum phase phase;
    uint64_t from, id;
    uint64_t size; /* 0 = not known yet, nor the digest */
    uint8_t digest[SNAPSHOT_DIGEST_SIZE];
    struct raft_message message; /* a copy of ours */
    uint64_t received, written;  /* bytes */
    uint64_t
        gap_reported; /* the sender was notified that the piece at this offset is missing; UINT64_MAX = no */
    uint64_t progress_ms, begun_ms;
    uint64_t sync_ns;     /* written by the job */
    struct buf waiting;   /* received, not yet with the worker */
    uint64_t accepted_id; /* the last accepted transfer: its sender may not have got the answer */

    struct snapshot_offer *next; /* replaces the present transfer when no job is running */
    uint64_t next_from;
    const char *refuse_reason; /* reason to refuse the transfer when no job is running; NULL = none */

    /* Only the worker uses these while a job is running. */
    struct worker_job job;
    bool is_job_running;
    struct io_file *file;
    struct sha256 *sha;
    struct buf writing;
    uint64_t writing_at;
    bool digest_matches; /* the digest is the offered one */
    int err;

    struct io_timer timer;
    struct buf out;
    bool is_closed;
};

char *snapshot_received_path(const char *dir)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, WHOLE_NAME);
    char *path = mem_string(buf_text(&b));
    buf_done(&b);
    return path;
}

static char *part_path(const char *dir)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, PART_NAME);
    char *path = mem_string(buf_text(&b));
    buf_done(&b);
    return path;
}

static uint64_t snapshot_receive_now_ms(const struct snapshot_receive *r)
{
    return r->options.io->ops->mono_ns(r->options.io) / 1000000;
}

static void snapshot_receive_answer(struct snapshot_receive *r, uint64_t to, uint64_t id, uint64_t offset,
                                    enum snapshot_status status)
{
    struct peers *p = r->options.peers;
    struct snapshot_answer a = {.id = id, .offset = offset, .status = status};
    buf_clear(&r->out);
    snapshot_add_answer(&r->out, &a);
    (void)p->ops->send(p, to, PEER_STREAM_BULK, buf_slice(&r->out),
                       (struct slice){0}); /* lost: the sender repeats */
}

static void snapshot_receive_run(struct snapshot_receive *r, void (*fn)(struct worker_job *),
                                 void (*done)(struct worker_job *))
{
    r->is_job_running = true;
    r->err = 0;
    r->job = (struct worker_job){.run = fn, .done = done};
    r->options.io->ops->submit(r->options.io, IO_WORKER_SNAPSHOT, &r->job);
}

/* --- end of a transfer ------------------------------------------------------------------------- */

static void snapshot_receive_forget(struct snapshot_receive *r)
{
    uint8_t unused[SNAPSHOT_DIGEST_SIZE];
    if (r->sha)
        sha256_finish(r->sha, unused);
    r->sha = NULL;
    raft_message_done(&r->message);
    buf_done(&r->waiting);
    buf_done(&r->writing);
    r->received = r->written = r->size = r->id = 0;
    r->refuse_reason = NULL;
    r->phase = PHASE_IDLE;
}

static void forget_next(struct snapshot_receive *r)
{
    if (r->next)
        raft_message_done(&r->next->message);
    mem_free(r->next);
    r->next = NULL;
}

static void receive_free(struct snapshot_receive *r)
{
    struct io *io = r->options.io;
    io->ops->timer_stop(io, &r->timer);
    if (r->file)
        io->ops->close(io, r->file);
    snapshot_receive_forget(r);
    forget_next(r);
    buf_done(&r->out);
    mem_free(r->dir);
    mem_free(r->part);
    mem_free(r->whole);
    mem_free(r);
}

/* Comes first in every done: true when the receiver was closed; then it is freed. */
static bool free_if_closed(struct snapshot_receive *r)
{
    r->is_job_running = false;
    if (!r->is_closed)
        return false;
    receive_free(r);
    return true;
}

static int unlink_if_there(struct io *io, const char *path)
{
    struct io_file *file;
    int err = io->ops->open(io, path, false, &file);
    if (err)
        return err == ERR_NOT_FOUND ? 0 : err;
    io->ops->close(io, file);
    return io->ops->unlink(io, path);
}

static void drop_run(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    struct io *io = r->options.io;
    if (r->file)
        io->ops->close(io, r->file);
    r->file = NULL;
    r->err = unlink_if_there(io, r->part);
    if (!r->err)
        r->err = unlink_if_there(io, r->whole);
}

static void snapshot_receive_begin(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *o);

static void drop_done(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    if (free_if_closed(r))
        return;
    snapshot_receive_forget(r);
    if (r->next) {
        struct snapshot_offer next = *r->next;
        snapshot_receive_begin(r, r->next_from, &next);
        forget_next(r);
    }
}

/* Deletes the received part. Not while a job is running. */
static void snapshot_receive_drop(struct snapshot_receive *r)
{
    if (r->phase != PHASE_DELIVERED) {
        metric_series_set(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVES, "From", r->from), 0);
        metric_series_add(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVE_FAILURES, "From", r->from), 1);
    }
    r->phase = PHASE_DROPPING;
    snapshot_receive_run(r, drop_run, drop_done);
}

static void snapshot_receive_refuse(struct snapshot_receive *r, const char *why, int err)
{
    log_warn("a snapshot is refused", F_HEX("from", r->from), F_UINT("index", r->message.snapshot->index),
             F_STR("why", why), F_ERR(err));
    snapshot_receive_answer(r, r->from, r->id, 0, SNAPSHOT_REFUSED);
    snapshot_receive_drop(r);
}

static void refuse_later(struct snapshot_receive *r, const char *why)
{
    r->refuse_reason = why;
    if (!r->is_job_running)
        snapshot_receive_refuse(r, why, ERR_LIMIT);
}

/* At the end of a job: true when the transfer was ended meanwhile. */
static bool snapshot_receive_is_over(struct snapshot_receive *r)
{
    if (r->refuse_reason)
        snapshot_receive_refuse(r, r->refuse_reason, ERR_LIMIT);
    else if (r->next)
        snapshot_receive_drop(r);
    return r->phase == PHASE_DROPPING;
}

/* True when the job's error ended the transfer. */
static bool job_failed(struct snapshot_receive *r)
{
    if (!r->err)
        return false;
    if (r->err != ERR_NO_DISK_SPACE) {
        log_error("a snapshot cannot be written", F_STR("path", r->part), F_ERR(r->err));
        r->options.failed(r->options.arg, r->err);
    }
    snapshot_receive_refuse(r, "it cannot be written", r->err);
    return true;
}

/* --- the check of a complete file ------------------------------------------------------------------- */

static void check_run(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    struct io *io = r->options.io;
    uint8_t digest[SNAPSHOT_DIGEST_SIZE];
    sha256_finish(r->sha, digest);
    r->sha = NULL;
    r->digest_matches = memcmp(digest, r->digest, sizeof digest) == 0 || MUTANT(SNAPSHOT_DIGEST_UNCHECKED);
    if (!r->digest_matches)
        return;
    uint64_t begin_ns = io->ops->mono_ns(io);
    r->err = io->ops->sync(io, r->file);
    r->sync_ns = io->ops->mono_ns(io) - begin_ns;
    io->ops->close(io, r->file);
    r->file = NULL;
    if (!r->err)
        r->err = io->ops->rename(io, r->part, r->whole);
    if (!r->err)
        r->err = io->ops->sync_dir(io, r->dir);
}

static void check_done(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    if (free_if_closed(r) || job_failed(r))
        return;
    if (!r->digest_matches) {
        snapshot_receive_refuse(r, "its digest is wrong", ERR_CORRUPT);
        return;
    }
    log_info("received a snapshot", F_HEX("from", r->from), F_UINT("index", r->message.snapshot->index),
             F_UINT("term", r->message.snapshot->term), F_UINT("size", r->size));
    double took_s = (double)(snapshot_receive_now_ms(r) - r->begun_ms) / 1000;
    metric_observe(METRIC_SNAPSHOT_SAVE, took_s);
    metric_observe(METRIC_SNAPSHOT_FSYNC, (double)r->sync_ns / 1e9);
    metric_series_set(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVES, "From", r->from), 0);
    metric_series_add(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVED, "From", r->from), 1);
    metric_series_observe(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVE_TIME, "From", r->from), took_s, 1);
    r->phase = PHASE_DELIVERED;
    snapshot_receive_answer(r, r->from, r->id, r->size, SNAPSHOT_ACCEPTED);
    /* A snapshot that raft did not accept is not recorded: when it is offered again, raft must see it
     * again. */
    if (r->options.deliver(r->options.arg, &r->message))
        r->accepted_id = r->id;
    else
        snapshot_receive_drop(r);
}

void snapshot_receive_done(struct snapshot_receive *r)
{
    if (r->phase != PHASE_DELIVERED)
        return;
    snapshot_receive_forget(r);
    if (r->next) {
        struct snapshot_offer next = *r->next;
        snapshot_receive_begin(r, r->next_from, &next);
        forget_next(r);
    }
}

/* --- pieces ------------------------------------------------------------------------------------ */

static void write_run(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    struct io *io = r->options.io;
    r->err = io->ops->write(io, r->file, r->writing_at, r->writing.data, r->writing.size);
    if (!r->err)
        io->ops->write_back(io, r->file, r->writing_at, r->writing.size);
    sha256_add(r->sha, r->writing.data, r->writing.size);
}

static void write_more(struct snapshot_receive *r);

static void write_done(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    if (free_if_closed(r) || job_failed(r))
        return;
    r->written += r->writing.size;
    buf_clear(&r->writing);
    if (snapshot_receive_is_over(r))
        return;
    snapshot_receive_answer(r, r->from, r->id, r->written, SNAPSHOT_CONTINUE);
    write_more(r);
}

static void write_more(struct snapshot_receive *r)
{
    if (r->is_job_running)
        return;
    if (r->size && r->written == r->size) {
        r->phase = PHASE_CHECKING;
        snapshot_receive_run(r, check_run, check_done);
        return;
    }
    if (r->waiting.size == 0)
        return;
    struct buf empty = r->writing;
    r->writing = r->waiting;
    r->waiting = empty;
    r->writing_at = r->written;
    snapshot_receive_run(r, write_run, write_done);
}

void snapshot_receive_piece(struct snapshot_receive *r, uint64_t from, const struct snapshot_piece *piece)
{
    bool is_known = piece->id == r->id && from == r->from && r->phase != PHASE_IDLE;
    if (!is_known || r->phase == PHASE_DROPPING) {
        snapshot_receive_answer(r, from, piece->id, 0,
                                piece->id == r->accepted_id ? SNAPSHOT_ACCEPTED : SNAPSHOT_UNKNOWN);
        return;
    }
    if (r->phase != PHASE_RECEIVING || r->next || r->refuse_reason)
        return;
    uint64_t most = r->size ? r->size : r->options.size_max;
    bool is_beyond = piece->data.size > most - r->received;
    if (piece->offset == r->received && is_beyond && !r->size) {
        refuse_later(r, TOO_LARGE);
        return;
    }
    bool fits =
        piece->offset == r->received && !is_beyond && r->waiting.size + piece->data.size <= WAITING_MAX;
    if (!fits) {
        /* Once for each gap: the pieces that were on the way after the missing one come here, too. */
        if (piece->offset > r->received && r->gap_reported != r->received) {
            r->gap_reported = r->received;
            snapshot_receive_answer(r, from, r->id, r->received, SNAPSHOT_GAP);
        }
        return;
    }
    buf_add_slice(&r->waiting, piece->data);
    r->received += piece->data.size;
    r->gap_reported = UINT64_MAX;
    r->progress_ms = snapshot_receive_now_ms(r);
    write_more(r);
}

/* --- offers --------------------------------------------------------------------------------- */

static void open_run(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    struct io *io = r->options.io;
    r->err = unlink_if_there(io, r->part);
    if (!r->err)
        r->err = unlink_if_there(io, r->whole);
    if (!r->err)
        r->err = io->ops->open(io, r->part, true, &r->file);
}

static void open_done(struct worker_job *job)
{
    struct snapshot_receive *r = container_of(job, struct snapshot_receive, job);
    if (free_if_closed(r) || job_failed(r) || snapshot_receive_is_over(r))
        return;
    r->phase = PHASE_RECEIVING;
    snapshot_receive_answer(r, r->from, r->id, 0, SNAPSHOT_CONTINUE);
}

static void snapshot_receive_begin(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *o)
{
    log_info("receiving a snapshot", F_HEX("from", from), F_UINT("index", o->message.snapshot->index),
             F_UINT("term", o->message.snapshot->term), F_UINT("size", o->size));
    r->from = from;
    r->id = o->id;
    r->size = o->size;
    memcpy(r->digest, o->digest, sizeof r->digest);
    r->message = raft_message_keep(&o->message);
    r->received = r->written = 0;
    r->gap_reported = UINT64_MAX;
    r->begun_ms = r->progress_ms = snapshot_receive_now_ms(r);
    metric_series_set(metric_series_of_member(FAMILY_SNAPSHOT_RECEIVES, "From", from), 1);
    r->sha = sha256_new();
    r->phase = PHASE_OPENING;
    r->options.io->ops->timer_start(r->options.io, &r->timer, TICK_MS);
    snapshot_receive_run(r, open_run, open_done);
}

/* True for the same copy of the same store, as far as size and digest are known. Another leader may continue
 * its transfer. */
static bool is_same(const struct snapshot_receive *r, const struct snapshot_offer *o)
{
    bool is_growing = r->size == 0 || o->size == 0;
    bool fits = is_growing || (r->size == o->size && memcmp(r->digest, o->digest, sizeof r->digest) == 0);
    return r->phase != PHASE_IDLE && r->phase != PHASE_DROPPING && r->id == o->id && fits &&
           r->message.snapshot->index == o->message.snapshot->index &&
           r->message.snapshot->term == o->message.snapshot->term;
}

static void snapshot_receive_continue(struct snapshot_receive *r, uint64_t from,
                                      const struct snapshot_offer *o)
{
    r->from = from;
    r->gap_reported = UINT64_MAX;
    r->progress_ms = snapshot_receive_now_ms(r);
    if (o->message.term > r->message.term) {
        struct raft_message newer = raft_message_keep(&o->message);
        raft_message_done(&r->message);
        r->message = newer;
    }
    if (!r->size && o->size) {
        r->size = o->size;
        memcpy(r->digest, o->digest, sizeof r->digest);
    }
    /* Bytes in the buffer count as written: they are in order. */
    if (r->phase != PHASE_OPENING)
        snapshot_receive_answer(r, from, r->id, r->received, SNAPSHOT_CONTINUE);
    if (r->phase == PHASE_RECEIVING)
        write_more(r); /* perhaps all bytes are here */
}

static bool is_valid_offer(const struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *o)
{
    const struct raft_message *m = &o->message;
    return o->size <= r->options.size_max && m->from == from && m->to == r->options.member_id;
}

void snapshot_receive_offer(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *o)
{
    if (o->id == r->accepted_id) {
        snapshot_receive_answer(r, from, o->id, o->size, SNAPSHOT_ACCEPTED);
        return;
    }
    if (is_same(r, o) && from == r->from && o->size &&
        (o->size > r->options.size_max || o->size < r->received)) {
        refuse_later(r, o->size < r->received ? "more bytes were received than its offered size" : TOO_LARGE);
        return;
    }
    bool is_active = r->phase != PHASE_IDLE && r->phase != PHASE_DROPPING;
    bool is_stale = is_active && o->message.term < r->message.term;
    if (!is_valid_offer(r, from, o) || is_stale || r->phase == PHASE_DELIVERED) {
        snapshot_receive_answer(r, from, o->id, 0, SNAPSHOT_REFUSED);
        return;
    }
    if (is_same(r, o)) {
        snapshot_receive_continue(r, from, o);
        return;
    }
    if (r->phase == PHASE_IDLE) {
        snapshot_receive_begin(r, from, o);
        return;
    }
    /* A newer offer replaces the transfer when no job is running. */
    forget_next(r);
    r->next = mem_copy(o, sizeof *o);
    r->next->message = raft_message_keep(&o->message);
    r->next_from = from;
    if (!r->is_job_running)
        snapshot_receive_drop(r);
}

/* --- timer, init and free ---------------------------------------------------------------------- */

static void snapshot_receive_on_timer(struct io_timer *timer)
{
    struct snapshot_receive *r = container_of(timer, struct snapshot_receive, timer);
    if (r->phase == PHASE_IDLE)
        return;
    r->options.io->ops->timer_start(r->options.io, &r->timer, TICK_MS);
    if (r->phase != PHASE_RECEIVING || r->is_job_running ||
        snapshot_receive_now_ms(r) - r->progress_ms < r->options.keep_ms)
        return;
    log_warn("a snapshot transfer makes no progress, its part is deleted", F_HEX("from", r->from),
             F_UINT("index", r->message.snapshot->index), F_UINT("bytes", r->written),
             F_UINT("size", r->size));
    snapshot_receive_drop(r);
}

struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_options *options)
{
    struct snapshot_receive *r = mem_new(sizeof *r);
    r->options = *options;
    r->dir = mem_string(options->dir);
    r->part = part_path(options->dir);
    r->whole = snapshot_received_path(options->dir);
    r->timer.fire = snapshot_receive_on_timer;
    return r;
}

void snapshot_receive_close(struct snapshot_receive *r)
{
    if (!r)
        return;
    r->options.io->ops->timer_stop(r->options.io, &r->timer);
    r->is_closed = true;
    if (!r->is_job_running)
        receive_free(r);
}

int snapshot_receive_clean(struct io *io, const char *dir, bool keeps_whole)
{
    char *part = part_path(dir), *whole = snapshot_received_path(dir);
    int err = unlink_if_there(io, part);
    if (!err && !keeps_whole)
        err = unlink_if_there(io, whole);
    mem_free(part);
    mem_free(whole);
    return err;
}
