/* SPDX-License-Identifier: Apache-2.0
 * Bootstrap of a member without data: queries to the other members, and the steps that the rules decide. See
 * boot.h.
 *
 *   1. Each expected member gets a WHO query, one at a time, in rounds: first 100 ms apart, later 1 s.
 *   2. Each answer, and each request's result, goes to boot_rules.c, which decides the next step.
 *   3. The step is carried out: wait, send a request to the leader (CLAIM, REPLACE, ADD; one at a time), end
 *      with an error, begin the cluster, or join.
 *
 * A query from an expected member that has not answered yet is a hint that this member is reachable: it gets
 * a WHO query at once. The query itself proves nothing: a second process with the same flags may have sent
 * it. */
#include "consensus/node/boot.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "consensus/feature.h"
#include "consensus/node/boot_rules.h"
#include "consensus/node/node.h"

enum {
    WHO_TIMEOUT_MS = 2000,
    REQUEST_TIMEOUT_MS = 15000, /* it ends when the cluster has agreed */
    ROUND_FIRST_MS = 100,
    ROUND_MS = 1000,
    REPEAT_LOG_MS = 10000,
};

/* The WHO query of one expected member. */
struct boot_query {
    struct boot *boot;
    uint64_t id;     /* 0 = nothing under way */
    size_t url;      /* index of the URL for the next query, modulo their number */
    bool has_result; /* answered or failed at least once */
};

struct boot {
    struct boot_options o;
    void (*done)(void *arg, int err, const char *error, const struct boot_result *result);
    void *arg;
    struct boot_rules rules;
    struct boot_query *queries;
    struct boot_decision request; /* to the leader */
    uint64_t request_query;
    size_t request_url;
    struct io_timer round, step;
    uint64_t round_ms;
    char logged_text[sizeof((struct boot_decision *)0)
                         ->text]; /* the last text about what this member waits for */
    uint64_t logged_ms;
    char logged_reason[256]; /* the last reason why another member refused a request */
    uint64_t reason_ms;
    bool has_data;
};

static uint64_t boot_now_ms(const struct boot *b)
{
    return b->o.io->ops->mono_ns(b->o.io) / 1000000;
}

/* --- no events: before and after the bootstrap ------------------------------------------------------- */
static void ignore_connection(void *arg, uint64_t id, enum peer_stream stream)
{
    (void)arg, (void)id, (void)stream; /* without an identity there are no streams */
}

static void ignore_message(void *arg, uint64_t from, enum peer_stream stream, struct slice message)
{
    (void)arg, (void)from, (void)stream, (void)message;
}

static void ignore_removal(void *arg, uint64_t reporter)
{
    (void)arg, (void)reporter;
}

/* Between the decision and kv_open, and after a cancel. */
static void on_early_query(void *arg, struct peer_served_query *question,
                           const struct peer_query_sender *asker, struct slice text)
{
    struct peers *peers = arg;
    (void)text, (void)asker;
    peers->ops->answer(peers, question, (struct slice){0}); /* state UNKNOWN */
}

static const struct peer_events no_events = {
    .on_message = ignore_message,
    .on_unreachable = ignore_connection,
    .on_reachable = ignore_connection,
    .on_query = on_early_query,
    .on_removed = ignore_removal,
};

/* --- end of the bootstrap ------------------------------------------------------------------------------- */
static void stop(struct boot *b)
{
    struct peers *peers = b->o.peers;
    b->o.io->ops->timer_stop(b->o.io, &b->round);
    b->o.io->ops->timer_stop(b->o.io, &b->step);
    for (size_t i = 0; i < b->rules.peer_count; i++)
        if (b->queries[i].id)
            peers->ops->cancel(peers, b->queries[i].id);
    if (b->request_query)
        peers->ops->cancel(peers, b->request_query);
    if (peers)
        peers->ops->set_events(peers, &no_events, peers);
}

static void boot_free(struct boot *b)
{
    boot_rules_done(&b->rules);
    mem_free(b->queries);
    mem_free(b);
}

void boot_cancel(struct boot *b)
{
    stop(b);
    boot_free(b);
}

/* The events are replaced first, because done sets its own. The result's pointers are valid until done
 * returns. */
static void boot_finish(struct boot *b, int err, const char *error, const Peerpb__Answer *joined)
{
    struct kv_join join = {0};
    struct kv_join_member *members = NULL;
    struct boot_result result = {0};
    if (joined) {
        members = mem_new((joined->n_members + 1) * sizeof *members);
        for (size_t i = 0; i < joined->n_members; i++) {
            const Peerpb__ListedMember *s = joined->members[i];
            members[i] = (struct kv_join_member){s->id, (const char *const *)s->peer_urls, s->n_peer_urls,
                                                 s->is_learner};
        }
        join = (struct kv_join){joined->cluster_id, joined->member_id, members, joined->n_members};
        result.join = &join;
    }
    stop(b);
    b->done(b->arg, err, error, err ? NULL : &result);
    mem_free(members);
    boot_free(b);
}

/* --- file member/join ----------------------------------------------------------------------------------- */
/* The file member/join: one Answer, kept beside the log.
 *
 * A member that joins has a log before it has a state. The state names the other members, and it comes from
 * them. So the file names them until then. After the first snapshot it is not read any more. A file that is
 * not complete does not decode: then the join had not begun. */
static void join_path(const struct boot_options *o, struct buf *ret_dir, struct buf *ret_path)
{
    buf_addf(ret_dir, "%s/member", o->data_dir);
    buf_addf(ret_path, "%s/member/join", o->data_dir);
}

static int write_file(struct io *io, const char *path, struct slice text)
{
    struct io_file *file;
    int err = io->ops->open(io, path, true, &file);
    if (err)
        return err;
    err = io->ops->truncate(io, file, 0);
    if (!err)
        err = io->ops->write(io, file, 0, text.data, text.size);
    if (!err)
        err = io->ops->sync(io, file);
    io->ops->close(io, file);
    return err;
}

static int save_join(struct boot *b, const Peerpb__Answer *join)
{
    struct io *io = b->o.io;
    struct buf dir = {0}, path = {0}, text = {0};
    join_path(&b->o, &dir, &path);
    boot_write(&text, &join->base);
    int err = io->ops->mkdir(io, buf_text(&dir));
    if (!err)
        err = write_file(io, buf_text(&path), buf_slice(&text));
    if (!err)
        err = io->ops->sync_dir(io, buf_text(&dir));
    buf_done(&dir);
    buf_done(&path);
    buf_done(&text);
    return err;
}

/* NULL: there is none, or it does not decode. The caller frees it. */
static Peerpb__Answer *load_join(const struct boot *b)
{
    struct io *io = b->o.io;
    struct buf dir = {0}, path = {0}, text = {0};
    struct io_file *file;
    uint64_t size = 0;
    Peerpb__Answer *join = NULL;
    join_path(&b->o, &dir, &path);
    if (io->ops->open(io, buf_text(&path), false, &file) == OK) {
        int err = io->ops->size(io, file, &size);
        size_t got = 0;
        if (!err && size && size <= BOOT_MESSAGE_MAX) {
            err = io->ops->read(io, file, 0, buf_reserve(&text, size), size, &got);
            text.size = got;
            join = err ? NULL : boot_read_answer(buf_slice(&text));
        }
        io->ops->close(io, file);
    }
    buf_done(&dir);
    buf_done(&path);
    buf_done(&text);
    if (join && !join->n_members) {
        peerpb__answer__free_unpacked(join, NULL);
        join = NULL;
    }
    return join;
}

/* Deletes what an earlier use of this folder left: it must not be taken for ours. */
static void forget_join(struct boot *b)
{
    struct buf dir = {0}, path = {0};
    join_path(&b->o, &dir, &path);
    (void)b->o.io->ops->unlink(b->o.io, buf_text(&path));
    buf_done(&dir);
    buf_done(&path);
}

static void finish_with_data(struct boot *b)
{
    Peerpb__Answer *join = load_join(b);
    boot_finish(b, OK, "", join);
    if (join)
        peerpb__answer__free_unpacked(join, NULL);
}

static void begin_join(struct boot *b, const struct boot_decision *d)
{
    Peerpb__Answer join = *d->best;
    join.member_id = d->member_id;
    int err = save_join(b, &join);
    char error[256] = "";
    if (err)
        snprintf(error, sizeof error, "cannot write %.200s/member/join: %s", b->o.data_dir, err_text(err));
    else
        log_info("joining a running cluster", F_HEX("cluster-id", join.cluster_id),
                 F_HEX("member-id", join.member_id));
    boot_finish(b, err, error, &join);
}

/* --- steps ---------------------------------------------------------------------------------------------- */
static void log_waiting(struct boot *b, const char *text)
{
    uint64_t now = boot_now_ms(b);
    if (strcmp(text, b->logged_text) == 0 && now - b->logged_ms < REPEAT_LOG_MS)
        return;
    log_warn("this member has no data; waiting", F_STR("for", text), F_STR("name", b->o.name));
    strcpy(b->logged_text, text);
    b->logged_ms = now;
}

/* True when each expected member was reached, or failed, since the start: only then an error is final. */
static bool has_all_results(const struct boot *b)
{
    for (size_t i = 0; i < b->rules.peer_count; i++)
        if (!b->queries[i].has_result)
            return false;
    return true;
}

static void boot_schedule_turn(struct boot *b)
{
    b->o.io->ops->timer_start(b->o.io, &b->step, 0);
}

static void log_refused(struct boot *b, const char *reason)
{
    uint64_t now = boot_now_ms(b);
    if (strncmp(reason, b->logged_reason, sizeof b->logged_reason - 1) == 0 &&
        now - b->reason_ms < REPEAT_LOG_MS)
        return;
    log_warn("another member does not carry out this member's request yet", F_STR("reason", reason));
    snprintf(b->logged_reason, sizeof b->logged_reason, "%s", reason);
    b->reason_ms = now;
}

/* A retry is useless: the process ends with the cluster's own error text. */
static void finish_refused(struct boot *b, Peerpb__Answer *answer)
{
    char error[512];
    snprintf(error, sizeof error, "%.500s", answer->reason);
    peerpb__answer__free_unpacked(answer, NULL);
    boot_finish(b, ERR_INVALID, error, NULL);
}

static void on_request_done(void *arg, int err, struct slice text)
{
    struct boot *b = arg;
    Peerpb__Answer *answer = err ? NULL : boot_read_answer(text);
    b->request_query = 0;
    if (err || !answer)
        b->request_url++;
    if (answer && answer->outcome == PEERPB__ANSWER__OUTCOME__REFUSED) {
        finish_refused(b, answer);
        return;
    }
    if (answer && answer->outcome != PEERPB__ANSWER__OUTCOME__DONE)
        log_refused(b, answer->reason);
    boot_rules_outcome(&b->rules, &b->request, answer);
    for (size_t i = 0; i < b->rules.peer_count; i++)
        b->queries[i].has_result = false; /* the earlier results are old */
    if (answer && answer->outcome == PEERPB__ANSWER__OUTCOME__DONE)
        b->round_ms = ROUND_FIRST_MS;
    if (answer)
        peerpb__answer__free_unpacked(answer, NULL);
    b->o.io->ops->timer_start(b->o.io, &b->round, b->round_ms);
    boot_schedule_turn(b);
}

static void send_request(struct boot *b, const struct boot_decision *d)
{
    static const char *const purposes[] = {"", "start as the member it lists",
                                           "replace what this member lost", "add this member as a learner"};
    Peerpb__BootstrapQuery q = PEERPB__BOOTSTRAP_QUERY__INIT;
    q.kind = d->kind;
    q.level = feature_level_here(b->o.feature_level);
    q.run = b->rules.self.run;
    q.name = (char *)(uintptr_t)b->o.name;
    q.n_peer_urls = b->o.peer_url_count;
    q.peer_urls = (char **)(uintptr_t)b->o.peer_urls;
    q.cluster_id = d->best->cluster_id;
    q.member_id = d->member_id;
    const char *url = d->urls[b->request_url % d->url_count];
    if (d->kind != b->request.kind || d->member_id != b->request.member_id)
        log_info("asking the leader", F_STR("to", purposes[d->kind]), F_STR("url", url),
                 F_HEX("cluster-id", q.cluster_id), F_HEX("member-id", q.member_id));
    struct buf text = {0};
    boot_write(&text, &q.base);
    b->request = *d;
    b->request_query =
        b->o.peers->ops->query(b->o.peers, url, buf_slice(&text), REQUEST_TIMEOUT_MS, on_request_done, b);
    buf_done(&text);
}

static void on_step(struct io_timer *timer)
{
    struct boot *b = container_of(timer, struct boot, step);
    struct boot_decision d;
    if (b->has_data) {
        finish_with_data(b);
        return;
    }
    if (b->request_query)
        return;
    boot_rules_decide(&b->rules, boot_now_ms(b), &d);
    switch (d.step) {
    case BOOT_WAIT:
        if (has_all_results(b) && *d.text)
            log_waiting(b, d.text);
        break;
    case BOOT_REQUEST:
        send_request(b, &d);
        break;
    case BOOT_REFUSE:
        if (has_all_results(b))
            boot_finish(b, ERR_INVALID, d.text, NULL);
        break;
    case BOOT_BOOTSTRAP:
        log_info("beginning the cluster of --initial-cluster", F_HEX("cluster-id", b->rules.cluster_id),
                 F_HEX("member-id", d.member_id), F_STR("without", d.text));
        forget_join(b);
        boot_finish(b, OK, "", NULL);
        break;
    case BOOT_JOIN:
        begin_join(b, &d);
        break;
    }
}

/* --- queries -------------------------------------------------------------------------------------------- */
static void on_who_done(void *arg, int err, struct slice text)
{
    struct boot_query *a = arg;
    struct boot *b = a->boot;
    Peerpb__Answer *answer = err ? NULL : boot_read_answer(text);
    a->id = 0;
    a->has_result = true;
    if (answer && answer->outcome == PEERPB__ANSWER__OUTCOME__REFUSED)
        log_refused(b, answer->reason);
    if (!answer)
        a->url++; /* it may have another URL */
    boot_rules_answer(&b->rules, (size_t)(a - b->queries), answer);
    boot_schedule_turn(b);
}

static void send_who(struct boot *b, size_t i)
{
    struct boot_query *a = &b->queries[i];
    const struct boot_peer *p = &b->rules.peers[i];
    if (a->id)
        return;
    Peerpb__BootstrapQuery q = PEERPB__BOOTSTRAP_QUERY__INIT;
    q.run = b->rules.self.run;
    q.name = (char *)(uintptr_t)b->o.name;
    q.n_peer_urls = b->o.peer_url_count;
    q.peer_urls = (char **)(uintptr_t)b->o.peer_urls;
    struct buf text = {0};
    boot_write(&text, &q.base);
    a->id = b->o.peers->ops->query(b->o.peers, p->urls[a->url % p->url_count], buf_slice(&text),
                                   WHO_TIMEOUT_MS, on_who_done, a);
    buf_done(&text);
}

/* A round comes every second +- 1/8, so that members that start together do not stay in step. */
static void on_round(struct io_timer *timer)
{
    struct boot *b = container_of(timer, struct boot, round);
    for (size_t i = 0; i < b->rules.peer_count; i++)
        send_who(b, i);
    uint64_t jitter = b->round_ms / 4 ? b->o.io->ops->random(b->o.io) % (b->round_ms / 4) : 0;
    b->o.io->ops->timer_start(b->o.io, &b->round, b->round_ms - b->round_ms / 8 + jitter);
    b->round_ms = b->round_ms * 2 < ROUND_MS ? b->round_ms * 2 : ROUND_MS;
    boot_schedule_turn(b);
}

/* --- answers to other members --------------------------------------------------------------------------- */
static void query_sender(struct boot *b, const Peerpb__BootstrapQuery *q)
{
    for (size_t i = 0; i < b->rules.peer_count; i++) {
        const struct boot_peer *p = &b->rules.peers[i];
        for (size_t j = 0; j < q->n_peer_urls; j++)
            if (!p->answer && !p->was_blank && strcmp(p->urls[0], q->peer_urls[j]) == 0)
                send_who(b, i);
    }
}

static void on_query(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                     struct slice text)
{
    struct boot *b = arg;
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    Peerpb__Answer answer;
    boot_rules_describe(&b->rules, &answer);
    if (peer_proof_judge(PEER_QUERY_WHO, asker->proof, b->o.requires_peer_proof) != PEER_ACCEPT) {
        peerpb__answer__init(&answer);
        answer.outcome = PEERPB__ANSWER__OUTCOME__REFUSED;
        answer.reason = (char *)(uintptr_t) "this member has --require-peer-proof: give all members the same "
                                            "--join-token-file, or peer TLS with --peer-trusted-ca-file";
    } else if (q && q->kind != PEERPB__BOOTSTRAP_QUERY__KIND__WHO) {
        answer.outcome = PEERPB__ANSWER__OUTCOME__LATER;
        answer.reason = (char *)(uintptr_t) "it has no data itself";
    }
    if (q)
        answer.run = q->run;
    struct buf out = {0};
    boot_write(&out, &answer.base);
    b->o.peers->ops->answer(b->o.peers, question, buf_slice(&out));
    buf_done(&out);
    if (q)
        query_sender(b, q);
    if (q)
        peerpb__bootstrap_query__free_unpacked(q, NULL);
}

static const struct peer_events events = {
    .on_message = ignore_message,
    .on_unreachable = ignore_connection,
    .on_reachable = ignore_connection,
    .on_query = on_query,
    .on_removed = ignore_removal,
};

/* --- start ---------------------------------------------------------------------------------------------- */
/* The log makes the member: without a log it has made no vote or acknowledgement that it could keep. kv_open
 * reports all other errors of the folder. */
bool boot_has_data(const struct boot_options *o)
{
    struct buf path = {0};
    bool exists = false;
    if (o->wal_dir && *o->wal_dir)
        buf_add_text(&path, o->wal_dir);
    else
        buf_addf(&path, "%s/member/wal", o->data_dir);
    int err = node_exists(o->io, buf_text(&path), &exists);
    buf_done(&path);
    return err || exists;
}

struct boot *boot_start(const struct boot_options *options,
                        void (*done)(void *arg, int err, const char *error, const struct boot_result *result),
                        void *arg)
{
    struct boot *b = mem_new(sizeof *b);
    b->o = *options;
    b->done = done;
    b->arg = arg;
    b->has_data = boot_has_data(options);
    b->step.fire = on_step;
    b->round.fire = on_round;
    b->round_ms = ROUND_FIRST_MS;
    struct boot_self self = {
        .run = options->io->ops->random(options->io),
        .name = options->name,
        .token = options->initial_cluster_token,
        .cluster = options->initial_cluster,
        .cluster_count = options->initial_cluster_count,
        .peer_urls = options->peer_urls,
        .peer_url_count = options->peer_url_count,
        .is_existing = options->is_existing,
        .is_auto = options->is_auto,
        .auto_join = options->auto_join,
    };
    boot_rules_init(&b->rules, &self);
    b->queries = mem_new((b->rules.peer_count + 1) * sizeof *b->queries);
    for (size_t i = 0; i < b->rules.peer_count; i++)
        b->queries[i].boot = b;
    if (!b->has_data && b->rules.peer_count) {
        options->peers->ops->set_events(options->peers, &events, b);
        options->io->ops->timer_start(options->io, &b->round, 0);
    } else {
        boot_schedule_turn(b);
    }
    return b;
}
