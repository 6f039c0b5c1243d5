/* SPDX-License-Identifier: Apache-2.0
 * The commands `migrate from-etcd` and `migrate to-etcd`: the steps in their order, the watch, and what the
 * user is told. */
#include "sdk/ctl/migrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "sdk/http_client.h"

enum {
    TICK_MS = 1000,
    QUEUE_OPS = 4000,
    QUEUE_BYTES = 8 << 20,
    TXN_BYTES = 768 << 10, /* etcd's limit of a request is 1.5 MiB */
    SAVE_MS = 10000,       /* how long a revision without a change of ours may go unsaved */
};

/* Changes of the watch that are not applied yet. */
struct queue {
    struct arena arena;
    struct migrate_op *ops;
    size_t count, bytes;
    int64_t revision; /* all of it is known up to here */
    bool is_canceled;
};

/* --- progress -------------------------------------------------------------------------------------------- */

static void show_line(struct migrate *m, uint64_t now)
{
    int64_t lag = m->source - m->applied;
    double seconds = lag > 0 ? (double)(now - m->in_step_ms) / 1000 : 0;
    if (m->c->form == CTL_FORM_JSON)
        buf_addf(&m->c->out,
                 "{\"source\":%" PRId64 ",\"applied\":%" PRId64 ",\"lag\":%" PRId64
                 ",\"seconds\":%.1f,\"written\":%" PRIu64 "}\n",
                 m->source, m->applied, lag, seconds, m->keys);
    else
        buf_addf(&m->c->out,
                 "source revision %" PRId64 ", applied %" PRId64 ", lag %" PRId64
                 " revisions (%.1f s), %" PRIu64 " keys written\n",
                 m->source, m->applied, lag, seconds, m->keys);
    (void)ctl_flush(m->c);
    m->shown_ms = now;
    m->shown_applied = m->applied;
}

enum ctl_exit migrate_tick(struct migrate *m)
{
    uint64_t now = clock_mono_ms();
    int64_t count, revision = 0;
    if (m->is_ticking || now - m->ticked_ms < TICK_MS)
        return CTL_DONE;
    m->is_ticking = true;
    enum ctl_exit how = migrate_leases(m);
    if (!how) {
        how = migrate_count(m, &m->from, slice_text(m->state_key), &count, &revision);
        if (how == CTL_ERROR && strstr(m->error, "permission denied"))
            how = migrate_count(m, &m->from, m->rule.prefix, &count, &revision);
        if (how == CTL_ERROR)
            how = migrate_fail(m, &m->from, "cannot read the revision");
    }
    now = clock_mono_ms();
    if (!how && revision > m->source) {
        m->source = revision;
        m->changed_ms = now;
    }
    if (m->applied >= m->source)
        m->in_step_ms = now;
    if (!how && (m->applied != m->shown_applied || m->source > m->applied || now - m->shown_ms >= 10000))
        show_line(m, now);
    m->ticked_ms = now;
    m->is_ticking = false;
    return how;
}

/* --- the watch ------------------------------------------------------------------------------------------- */

static void close_watch(struct migrate *m)
{
    if (m->has_watch)
        ctl_stream_done(&m->watch);
    m->has_watch = false;
}

/* The watch has everything after the applied revision. A source that does not answer is waited for. */
static enum ctl_exit open_watch(struct migrate *m)
{
    Etcdserverpb__WatchRequest q = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    struct buf end = {0};
    migrate_range_end(m->rule.prefix, &end);
    create.key = m->rule.prefix.size ? migrate_data(m->rule.prefix)
                                     : (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) ""};
    create.range_end = migrate_data(buf_slice(&end));
    create.start_revision = m->applied + 1;
    create.progress_notify = true;
    q.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    q.create_request = &create;
    enum ctl_exit how = CTL_DONE;
    while (!m->has_watch && !how) {
        struct ctl_rpc rpc = {.path = "/v3/watch",
                              .request = &q.base,
                              .answer = &etcdserverpb__watch_response__descriptor,
                              .is_quiet = true};
        how = ctl_stream_open(&m->from, &rpc, &m->watch);
        m->has_watch = !how;
        if (how)
            ctl_stream_done(&m->watch);
        if (how == CTL_ERROR || how == CTL_BAD_CONNECTION) {
            /* a request waits until the source answers, and logs in again if it must */
            how = ctl_pause(m->c, 200) ? CTL_INTERRUPTED : migrate_tick(m);
            m->from.at = (m->from.at + 1) % m->from.endpoint_count;
        }
    }
    buf_done(&end);
    return how;
}

static enum ctl_exit enqueue(struct migrate *m, struct queue *q, const Etcdserverpb__WatchResponse *r)
{
    struct buf name = {0};
    if (r->canceled) {
        q->is_canceled = true;
        if (r->compact_revision || strstr(r->cancel_reason, "compacted")) {
            ctl_note(m->c,
                     "The source has compacted the history after revision %" PRId64
                     ": the sides are compared.",
                     m->applied);
            m->needs_compare = true;
        } else if (strstr(r->cancel_reason, "permission denied")) {
            snprintf(m->error, sizeof m->error, "%s", r->cancel_reason);
            return migrate_fail(m, &m->from, "cannot watch");
        }
        return CTL_DONE;
    }
    for (size_t i = 0; i < r->n_events; i++) {
        const Mvccpb__Event *e = r->events[i];
        if (!e->kv)
            continue;
        q->revision = e->kv->mod_revision;
        if (!migrate_map_key(&m->rule, migrate_slice(e->kv->key), &name))
            continue;
        if ((q->count & (q->count + 1)) == 0 || !q->ops) { /* room doubles at each power of two */
            struct migrate_op *more = arena_alloc(&q->arena, (2 * q->count + 2) * sizeof *more);
            if (q->count)
                memcpy(more, q->ops, q->count * sizeof *more);
            q->ops = more;
        }
        struct migrate_op *op = &q->ops[q->count++];
        *op = (struct migrate_op){
            .key = slice_of(arena_copy(&q->arena, name.data, name.size), name.size),
            .value = slice_of(arena_copy(&q->arena, e->kv->value.data, e->kv->value.len), e->kv->value.len),
            .lease = e->kv->lease,
            .revision = e->kv->mod_revision,
            .is_delete = e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE};
        if (op->is_delete)
            op->value.size = 0, op->lease = 0;
        q->bytes += op->key.size + op->value.size;
    }
    if (r->n_events == 0 && !r->created && r->header && r->header->revision > q->revision)
        q->revision = r->header->revision;
    buf_done(&name);
    return CTL_DONE;
}

static enum ctl_exit apply(struct migrate *m, struct queue *q)
{
    enum ctl_exit how = CTL_DONE;
    for (size_t at = 0; at < q->count && !how;) {
        int64_t revision = m->applied;
        bool is_torn;
        size_t n = migrate_batch(q->ops + at, q->count - at, &m->limits, &revision, &is_torn);
        if (is_torn && !m->told_torn) {
            ctl_note(m->c,
                     "The transaction of source revision %" PRId64
                     " is too large for one of the target: it is split.",
                     q->ops[at].revision);
            m->told_torn = true;
        }
        how = migrate_write(m, q->ops + at, n, revision > m->state.revision ? revision : m->state.revision);
        if (!how && revision > m->applied)
            m->applied = revision;
        at += n;
        if (!how)
            how = migrate_tick(m);
    }
    if (!how && q->revision > m->applied)
        m->applied = q->revision;
    if (m->applied > m->source) {
        m->source = m->applied;
        m->changed_ms = clock_mono_ms();
    }
    q->count = q->bytes = 0;
    q->ops = NULL;
    arena_reset(&q->arena);
    return how;
}

/* Takes what the watch has, at most for one tick. */
static enum ctl_exit follow_once(struct migrate *m, struct queue *q, int timer_fd, int ready_fd)
{
    Etcdserverpb__WatchResponse *r = NULL;
    uint64_t turns;
    q->revision = m->applied;
    q->is_canceled = false;
    enum ctl_exit how = open_watch(m);
    if (!how)
        how = ctl_stream_poll(&m->from, &m->watch, timer_fd, &r);
    (void)!read(timer_fd, &turns, sizeof turns);
    while (!how && r) {
        how = enqueue(m, q, r);
        if (how || q->is_canceled || q->count >= QUEUE_OPS || q->bytes >= QUEUE_BYTES)
            break;
        how = ctl_stream_poll(&m->from, &m->watch, ready_fd, &r);
    }
    if (how == CTL_BAD_CONNECTION || q->is_canceled) {
        close_watch(m);
        how = CTL_DONE;
        if (ctl_pause(m->c, 100))
            how = CTL_INTERRUPTED;
    }
    enum ctl_exit applied = how == CTL_DONE ? apply(m, q) : CTL_DONE;
    return how ? how : applied;
}

/* --- the steps ------------------------------------------------------------------------------------------- */

static const char *target_name(const struct migrate *m)
{
    return m->to.endpoints[0].text;
}

/* Everything is applied and the source does not change: verifies, and says so. *ret_is_end: --finish is done. */
static enum ctl_exit when_quiet(struct migrate *m, bool *ret_is_end)
{
    bool is_equal;
    uint64_t keys;
    char hash[65];
    int64_t count, revision = 0;
    enum ctl_exit how = migrate_auth(m, false);
    if (!how)
        how = migrate_verify(m, &is_equal, &keys, hash);
    if (how || !is_equal)
        return how;
    how = migrate_count(m, &m->from, slice_text(m->state_key), &count, &revision);
    if (how == CTL_ERROR)
        how = migrate_count(m, &m->from, m->rule.prefix, &count, &revision);
    if (how)
        return how;
    if (!m->rule.prefix.size && revision > m->applied)
        return CTL_DONE; /* a writer is still there */
    if (m->is_finishing)
        how = migrate_forget(m);
    if (how)
        return how;
    buf_addf(&m->c->out, "verified: source revision %" PRId64 ", %" PRIu64 " keys, sha256 %s\n", m->applied,
             keys, hash);
    if (m->is_finishing)
        buf_addf(
            &m->c->out,
            "Start the clients on %s now: it has everything of the source, and this migration has ended.\n",
            target_name(m));
    else
        buf_addf(&m->c->out,
                 "Switch whenever you like: stop the writers of the source, run this command with --finish, "
                 "and start "
                 "the clients on %s when it ends.\n",
                 target_name(m));
    *ret_is_end = m->is_finishing;
    return ctl_flush(m->c) ? CTL_DONE : CTL_IO;
}

static enum ctl_exit follow(struct migrate *m)
{
    struct queue q = {0};
    struct itimerspec every = {{0, 200000000}, {0, 200000000}};
    int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
        ready_fd = eventfd(1, EFD_CLOEXEC);
    bool is_end = false;
    uint64_t saved_ms = clock_mono_ms();
    enum ctl_exit how = CTL_DONE;
    (void)timerfd_settime(timer_fd, 0, &every, NULL);
    while (!how && !is_end) {
        how = follow_once(m, &q, timer_fd, ready_fd);
        if (!how)
            how = migrate_tick(m);
        uint64_t now = clock_mono_ms();
        bool is_quiet = now - m->changed_ms >= (uint64_t)m->quiet_ms;
        /* Below a prefix most revisions are of other keys: silence of the watch means that there is no more. */
        if (!how && is_quiet && m->has_watch && m->rule.prefix.size && m->applied < m->source &&
            q.revision <= m->applied)
            m->applied = m->source;
        if (!how && m->needs_compare) {
            close_watch(m);
            how = migrate_compare_sides(m);
        } else if (!how && is_quiet && m->applied >= m->source &&
                   (m->verified != m->applied || m->is_finishing)) {
            how = when_quiet(m, &is_end);
        } else if (!how && m->applied > m->state.revision && now - saved_ms > SAVE_MS) {
            how = migrate_write(m, NULL, 0, m->applied);
            saved_ms = now;
        }
    }
    close_watch(m);
    arena_done(&q.arena);
    close(timer_fd);
    close(ready_fd);
    return how;
}

/* Both sides answer, and they are two clusters. */
static enum ctl_exit check_sides(struct migrate *m, uint64_t *ret_source_id)
{
    Etcdserverpb__StatusRequest q = ETCDSERVERPB__STATUS_REQUEST__INIT;
    Etcdserverpb__StatusResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/status",
                          .request = &q.base,
                          .answer = &etcdserverpb__status_response__descriptor,
                          .is_read = true};
    enum ctl_exit how = ctl_rpc(&m->from, &rpc, &r);
    if (how)
        return how;
    *ret_source_id = r->header->cluster_id;
    how = ctl_rpc(&m->to, &rpc, &r);
    if (!how && r->header->cluster_id == *ret_source_id && r->header->member_id != 0) {
        struct slice a = m->rule.prefix, b = m->rule.dest;
        size_t n = a.size < b.size ? a.size : b.size;
        if (n == 0 || memcmp(a.data, b.data, n) == 0)
            return ctl_fail(m->c, CTL_BAD_ARGS,
                            "source and target are the same cluster (%016" PRIx64
                            "); --prefix and --dest-prefix must be apart then",
                            *ret_source_id);
    }
    return how;
}

/* The keys of a side that a migration copies. */
static enum ctl_exit count_side(struct migrate *m, struct ctl *side, struct slice prefix, int64_t *ret_count)
{
    int64_t own = 0, revision;
    enum ctl_exit how = migrate_count(m, side, prefix, ret_count, &revision);
    if (!how && prefix.size == 0)
        how = migrate_count(m, side, slice_text(MIGRATE_RESERVED), &own, &revision);
    *ret_count -= own;
    return how == CTL_ERROR ? migrate_fail(m, side, "cannot count keys") : how;
}

/* A target with keys is refused, because those that the source does not have would be deleted. It is not if there are
 * none of these: a run with --finish may have been killed after it had deleted its state. */
static enum ctl_exit check_target(struct migrate *m)
{
    int64_t count = 0, source = 0;
    bool is_equal = false;
    enum ctl_exit how = count_side(m, &m->to, m->rule.dest, &count);
    if (how || !count || m->is_resumed || ctl_bool(&m->c->line, "replace"))
        return how;
    how = count_side(m, &m->from, m->rule.prefix, &source);
    if (!how && source == count)
        how = migrate_is_equal(m, &is_equal);
    if (!how && is_equal)
        ctl_note(m->c, "The target has the keys of the source already.");
    else if (!how)
        how = ctl_fail(m->c, CTL_ERROR,
                       "the target (%s) has %" PRId64
                       " keys already, which would be deleted if the source does not have "
                       "them; --replace says that they may",
                       target_name(m), count);
    return how;
}

static enum ctl_exit note_reserved(struct migrate *m)
{
    int64_t own = 0, revision;
    enum ctl_exit how = m->rule.prefix.size
                            ? CTL_DONE
                            : migrate_count(m, &m->from, slice_text(MIGRATE_RESERVED), &own, &revision);
    if (!how && own)
        ctl_note(m->c,
                 "%" PRId64 " keys below " MIGRATE_RESERVED
                 " are not copied: services and configurations of Cairn belong to its native API.",
                 own);
    return how == CTL_ERROR ? CTL_DONE : how;
}

static enum ctl_exit migrate_steps(struct migrate *m)
{
    uint64_t id = 0;
    enum ctl_exit how = check_sides(m, &id);
    if (how)
        return how;
    struct buf named = {0};
    buf_addf(&named, "%016" PRIx64 " %zu ", id, m->rule.prefix.size);
    buf_add_slice(&named, m->rule.prefix);
    buf_add_slice(&named, m->rule.dest);
    uint8_t digest[32];
    struct sha256 *sha = sha256_new();
    sha256_add(sha, named.data, named.size);
    sha256_finish(sha, digest);
    buf_done(&named);
    snprintf(m->state_key, sizeof m->state_key, MIGRATE_RESERVED "migrate/%016" PRIx64, get_be64(digest));
    how = note_reserved(m);
    if (!how)
        how = migrate_look(m);
    if (!how)
        how = check_target(m);
    if (!how)
        how = migrate_claim(m);
    if (!how)
        how = migrate_auth(m, true);
    m->applied = m->state.revision;
    m->needs_compare = m->applied == 0;
    if (!how && m->is_resumed)
        ctl_note(m->c, "This goes on after source revision %" PRId64 ", as the target's key %s says.",
                 m->applied, m->state_key);
    if (!how)
        how = migrate_tick(m);
    if (m->applied > m->source) /* the source was restored from an older state */
        m->needs_compare = true;
    if (!how && m->needs_compare)
        how = migrate_compare_sides(m);
    return how ? how : follow(m);
}

static enum ctl_exit migrate_run(struct ctl *c, const char *far)
{
    struct migrate *m = mem_new(sizeof *m);
    const char *prefix = ctl_text(&c->line, "prefix"), *dest = ctl_flag_value(&c->line, "dest-prefix");
    int64_t ops = ctl_int(&c->line, "max-txn-ops");
    bool is_from = strcmp(far, "from-") == 0;
    m->c = c;
    m->from.stop_fd = m->to.stop_fd = c->stop_fd;
    m->rule.prefix = slice_text(prefix ? prefix : "");
    m->rule.dest = dest ? slice_text(dest) : m->rule.prefix;
    m->limits = (struct migrate_limits){ops > 1 ? (size_t)ops - 1 : 1, TXN_BYTES};
    m->quiet_ms = ctl_duration_ms(&c->line, "quiet-time");
    m->is_finishing = ctl_bool(&c->line, "finish");
    m->changed_ms = m->in_step_ms = clock_mono_ms();
    enum ctl_exit how = CTL_DONE;
    if (!ctl_list(&c->line, is_from ? "from" : "to")->count)
        how = ctl_fail(c, CTL_BAD_ARGS, "--%s names the %s", is_from ? "from" : "to",
                       is_from ? "source" : "target");
    else if (ops < 2)
        how = ctl_fail(c, CTL_BAD_ARGS, "--max-txn-ops is %" PRId64 "; it must be at least 2", ops);
    else if (migrate_is_reserved(m->rule.prefix) || migrate_is_reserved(m->rule.dest))
        how = ctl_fail(c, CTL_BAD_ARGS, "keys below " MIGRATE_RESERVED " belong to Cairn and are not copied");
    if (!how)
        how = ctl_open_side(c, is_from ? far : "", &m->from);
    if (!how)
        how = ctl_open_side(c, is_from ? "" : far, &m->to);
    m->texts[0] = m->from.arena;
    m->texts[1] = m->to.arena;
    m->from.arena = m->to.arena = (struct arena){0};
    if (!how)
        how = migrate_steps(m);
    if (how == CTL_INTERRUPTED && m->state_key[0])
        ctl_note(c, "Interrupted. The same command goes on from here.");
    migrate_leases_done(m);
    ctl_close_side(&m->from);
    ctl_close_side(&m->to);
    arena_done(&m->texts[0]);
    arena_done(&m->texts[1]);
    mem_free(m);
    return how;
}

enum ctl_exit ctl_migrate_from_etcd(struct ctl *c)
{
    return migrate_run(c, "from-");
}

enum ctl_exit ctl_migrate_to_etcd(struct ctl *c)
{
    return migrate_run(c, "to-");
}
