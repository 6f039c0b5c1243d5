/* SPDX-License-Identifier: Apache-2.0
 * The host of every member in a scenario: storage, state machine, the network between members. */
#include "tests/scenario/environment.h"

#include <inttypes.h>

static unsigned number_of(const struct interaction *env, const struct node *n)
{
    return (unsigned)(n - env->node) + 1;
}

static void on_trace(void *arg, const struct raft_trace *event)
{
    static const char *levels[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    struct interaction *env = arg;
    enum raft_trace_level level = render_trace_level(event->kind);
    if ((int)level < env->level)
        return;
    struct buf text = {0};
    buf_addf(&text, "%s ", levels[level]);
    render_trace(&text, event);
    buf_add_byte(&text, '\n');
    env_say_buf(env, &text);
}

void cluster_report(struct interaction *env, int err)
{
    if (err)
        env_fail(env, "%s", err_text(err));
}

/* --- members --- */
static int start(struct interaction *env, struct node *n)
{
    const struct storage *s = &n->storage;
    struct raft_initial initial = {
        .hard_state = s->hard_state,
        .conf_state = n->state.conf_state,
        .snapshot_index = s->before_index,
        .snapshot_term = s->before_term,
        .entries = s->entries,
        .entry_count = s->count,
    };
    n->config.trace = on_trace;
    n->config.trace_arg = env;
    int err = raft_new(&n->config, &initial, &n->raft);
    if (err == 0 && n->state.index)
        raft_set_snapshot(n->raft, &n->state);
    return err;
}

void cluster_add(struct interaction *env, const struct raft_config *config,
                 const struct raft_snapshot *snapshot)
{
    if (env->node_count == NODES_MAX) {
        env_fail(env, "too many nodes");
        return;
    }
    struct node *n = &env->node[env->node_count];
    *n = (struct node){.config = *config};
    n->config.id = env->node_count + 1;
    if (snapshot->index)
        (void)storage_install(&n->storage, snapshot);
    snapshot_set(&n->state, snapshot);
    int err = start(env, n);
    if (err)
        cluster_report(env, err);
    else
        env->node_count++;
}

/* As after a power cut: everything that was not written is lost, and so are the entries to be applied. */
void cluster_restart(struct interaction *env, struct node *n)
{
    queue_done(&n->append_work);
    queue_done(&n->apply_work);
    for (size_t i = 0; i < env->network.count;) {
        const struct raft_message *m = &env->network.items[i];
        bool own = m->to == n->config.id && (m->from == n->config.id || m->from >= RAFT_APPLY_THREAD);
        if (!own) {
            i++;
            continue;
        }
        struct raft_message lost = queue_take(&env->network, i);
        raft_message_done(&lost);
    }
    raft_free(n->raft);
    n->raft = NULL;
    if (n->state.index < n->storage.snapshot.index)
        snapshot_set(&n->state, &n->storage.snapshot);
    n->config.applied = n->state.index;
    cluster_report(env, start(env, n));
}

/* --- storage and state machine --- */
static void write_storage(struct interaction *env, struct node *n, const struct raft_hard_state *hard,
                          const struct raft_entry *entries, size_t count,
                          const struct raft_snapshot *snapshot)
{
    const char *error = NULL;
    if (hard->term || hard->vote || hard->commit)
        n->storage.hard_state = *hard;
    if (snapshot && count)
        error = "can't apply snapshot and entries at the same time";
    else if (snapshot)
        error = storage_install(&n->storage, snapshot);
    else
        error = storage_append(&n->storage, entries, count);
    if (error)
        env_fail(env, "%s", error);
}

static void add_to_state(struct node *n, const struct raft_entry *e, struct slice update)
{
    struct slice old = blob_slice(n->state.data);
    struct blob *data = blob_new(old.size + update.size);
    if (old.size)
        memcpy(data->data, old.data, old.size);
    if (update.size)
        memcpy(data->data + old.size, update.data, update.size);
    blob_unref(n->state.data);
    n->state.data = data;
    n->state.index = e->index;
    n->state.term = e->term;
    raft_set_snapshot(n->raft, &n->state);
}

static void apply_entry(struct interaction *env, struct node *n, const struct raft_entry *e)
{
    struct slice update = blob_slice(e->data);
    if (e->type != RAFT_ENTRY_NORMAL) {
        struct raft_conf_change change;
        int err = raft_conf_change_decode(update, e->type == RAFT_ENTRY_CONF_CHANGE, &change);
        if (err == 0)
            err = raft_apply_conf_change(n->raft, &change, &n->state.conf_state);
        if (err) {
            cluster_report(env, err);
            return;
        }
        update = change.context;
    }
    add_to_state(n, e, update);
}

static void apply_entries(struct interaction *env, struct node *n, const struct raft_entry *entries,
                          size_t count)
{
    for (size_t i = 0; i < count && !env_failed(env); i++)
        apply_entry(env, n, &entries[i]);
}

/* --- one step of work --- */
void cluster_ready(struct interaction *env, struct node *n)
{
    struct raft_ready rd;
    struct buf text = {0};
    raft_ready(n->raft, &rd);
    render_ready(&text, &rd);
    env_say_buf(env, &text);
    if (!n->config.async_storage_writes) {
        struct raft_hard_state none = {0};
        write_storage(env, n, rd.has_hard_state ? &rd.hard_state : &none, rd.entries, rd.entry_count,
                      rd.snapshot);
        if (!env_failed(env))
            apply_entries(env, n, rd.committed, rd.committed_count);
    }
    for (size_t i = 0; i < rd.message_count && !env_failed(env); i++) {
        const struct raft_message *m = &rd.messages[i];
        if (m->to == RAFT_APPEND_THREAD)
            queue_add(&n->append_work, m);
        else if (m->to == RAFT_APPLY_THREAD)
            queue_add(&n->apply_work, m);
        else
            queue_add(&env->network, m);
    }
    if (!n->config.async_storage_writes)
        raft_advance(n->raft);
}

static void say_message(struct interaction *env, const struct raft_message *m)
{
    struct buf text = {0};
    render_message(&text, m);
    buf_add_byte(&text, '\n');
    env_say_buf(env, &text);
}

static void say_work(struct interaction *env, const struct raft_message *m)
{
    struct raft_message without = *m;
    without.responses = NULL;
    without.response_count = 0;
    env_say(env, "Processing:\n");
    say_message(env, &without);
}

static void respond(struct interaction *env, const struct raft_message *m)
{
    env_say(env, "Responses:\n");
    for (size_t i = 0; i < m->response_count; i++) {
        say_message(env, &m->responses[i]);
        queue_add(&env->network, &m->responses[i]);
    }
}

void cluster_append(struct interaction *env, struct node *n)
{
    if (n->append_work.count == 0) {
        env_say(env, "no append work to perform");
        return;
    }
    struct raft_message m = queue_take(&n->append_work, 0);
    struct raft_hard_state hard = {m.term, m.vote, m.commit};
    say_work(env, &m);
    write_storage(env, n, &hard, m.entries, m.entry_count, m.snapshot);
    if (!env_failed(env))
        respond(env, &m);
    raft_message_done(&m);
}

void cluster_apply(struct interaction *env, struct node *n)
{
    if (n->apply_work.count == 0) {
        env_say(env, "no apply work to perform");
        return;
    }
    struct raft_message m = queue_take(&n->apply_work, 0);
    say_work(env, &m);
    apply_entries(env, n, m.entries, m.entry_count);
    if (!env_failed(env))
        respond(env, &m);
    raft_message_done(&m);
}

/* --- the network --- */
static bool is_local(const struct raft_message *m)
{
    return m->from == m->to || m->from >= RAFT_APPLY_THREAD || m->to >= RAFT_APPLY_THREAD;
}

/* Storage never loses an answer, so drop ignores those. */
static bool is_meant(const struct raft_message *m, uint64_t to, int type, bool drop)
{
    return m->to == to && !(drop && is_local(m)) && (type < 0 || (int)m->type == type);
}

bool cluster_has_messages(const struct interaction *env, uint64_t to)
{
    for (size_t i = 0; i < env->network.count; i++)
        if (is_meant(&env->network.items[i], to, -1, false))
            return true;
    return false;
}

static void step(struct interaction *env, const struct raft_message *m)
{
    if (m->to == RAFT_NONE || m->to > env->node_count) {
        env_say(env, "no node %" PRIu64 "\n", m->to);
        return;
    }
    struct raft *r = env->node[m->to - 1].raft;
    bool own = m->from >= RAFT_APPLY_THREAD || (m->from == m->to && raft_message_is_response(m->type));
    int err = own ? raft_step_local(r, m) : raft_step(r, m);
    if (err)
        env_say(env, "%s\n", err_text(err));
}

size_t cluster_deliver(struct interaction *env, uint64_t to, int type, bool drop)
{
    struct queue batch = {0};
    for (size_t i = 0; i < env->network.count;) {
        if (!is_meant(&env->network.items[i], to, type, drop)) {
            i++;
            continue;
        }
        struct raft_message m = queue_take(&env->network, i);
        queue_add(&batch, &m);
        raft_message_done(&m);
    }
    size_t count = batch.count;
    for (size_t i = 0; i < count; i++) {
        if (drop)
            env_say(env, "dropped: ");
        say_message(env, &batch.items[i]);
        if (!drop)
            step(env, &batch.items[i]);
    }
    queue_done(&batch);
    return count;
}

static void report_loss(struct interaction *env, const struct raft_message *m)
{
    struct raft *sender = m->from && m->from <= env->node_count ? env->node[m->from - 1].raft : NULL;
    if (!sender)
        return;
    raft_report_unreachable(sender, m->to);
    if (m->type == RAFT_MSG_SNAP)
        raft_report_snapshot(sender, m->to, false);
}

void cluster_deliver_one(struct interaction *env, size_t at, bool keep, bool drop)
{
    struct raft_message m = keep ? raft_message_keep(&env->network.items[at]) : queue_take(&env->network, at);
    if (drop)
        env_say(env, "dropped: ");
    say_message(env, &m);
    if (drop)
        report_loss(env, &m);
    else
        step(env, &m);
    raft_message_done(&m);
}

/* --- until nothing moves --- */
static bool stabilize_ready(struct interaction *env, struct node *n)
{
    if (!raft_has_ready(n->raft))
        return false;
    struct buf inner = {0};
    env_say(env, "> %u handling Ready\n", number_of(env, n));
    struct buf *outer = env_indent(env, &inner);
    cluster_ready(env, n);
    env_dedent(env, outer);
    return true;
}

static bool stabilize_deliver(struct interaction *env, struct node *n)
{
    if (!cluster_has_messages(env, n->config.id))
        return false;
    struct buf inner = {0};
    env_say(env, "> %u receiving messages\n", number_of(env, n));
    struct buf *outer = env_indent(env, &inner);
    (void)cluster_deliver(env, n->config.id, -1, false);
    env_dedent(env, outer);
    return true;
}

static bool stabilize_work(struct interaction *env, struct node *n, const struct queue *work,
                           const char *name, void (*perform)(struct interaction *, struct node *))
{
    if (work->count == 0)
        return false;
    env_say(env, "> %u processing %s thread\n", number_of(env, n), name);
    while (work->count && !env_failed(env)) {
        struct buf inner = {0};
        struct buf *outer = env_indent(env, &inner);
        perform(env, n);
        env_dedent(env, outer);
    }
    return true;
}

void cluster_stabilize(struct interaction *env, struct node *const *nodes, size_t count)
{
    for (bool moved = true; moved && !env_failed(env);) {
        moved = false;
        for (size_t i = 0; i < count && !env_failed(env); i++)
            moved |= stabilize_ready(env, nodes[i]);
        for (size_t i = 0; i < count && !env_failed(env); i++)
            moved |= stabilize_deliver(env, nodes[i]);
        for (size_t i = 0; i < count && !env_failed(env); i++)
            moved |= stabilize_work(env, nodes[i], &nodes[i]->append_work, "append", cluster_append);
        for (size_t i = 0; i < count && !env_failed(env); i++)
            moved |= stabilize_work(env, nodes[i], &nodes[i]->apply_work, "apply", cluster_apply);
    }
}

/* Answers of the member's own storage, which no network loses. */
static bool settle_own(struct interaction *env, struct node *n)
{
    for (size_t i = 0; i < env->network.count; i++) {
        const struct raft_message *m = &env->network.items[i];
        if (m->to == n->config.id && is_local(m)) {
            cluster_deliver_one(env, i, false, false);
            return true;
        }
    }
    return false;
}

void cluster_settle(struct interaction *env, struct node *n, bool append, bool apply)
{
    bool moved = true;
    while (moved && !env_failed(env)) {
        moved = stabilize_ready(env, n) || settle_own(env, n);
        if (!moved && append)
            moved = stabilize_work(env, n, &n->append_work, "append", cluster_append);
        if (!moved && apply)
            moved = stabilize_work(env, n, &n->apply_work, "apply", cluster_apply);
    }
}

void cluster_print_log(struct interaction *env, const struct node *n)
{
    const struct storage *s = &n->storage;
    if (s->count == 0) {
        env_say(env, "log is empty: first index=%" PRIu64 ", last index=%" PRIu64, storage_first(s),
                storage_last(s));
        return;
    }
    struct buf text = {0};
    render_entries(&text, s->entries, s->count);
    env_say_buf(env, &text);
}
