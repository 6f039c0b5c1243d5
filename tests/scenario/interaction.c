/* SPDX-License-Identifier: Apache-2.0
 * The commands of interaction scenarios. */
#include "tests/scenario/environment.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

/* --- output --- */
bool env_quiet(const struct interaction *env)
{
    return env->level == LEVEL_NONE;
}

void env_say(struct interaction *env, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!env_quiet(env))
        buf_addv(env->out, format, args);
    va_end(args);
}

void env_say_buf(struct interaction *env, struct buf *text)
{
    if (!env_quiet(env))
        buf_add_slice(env->out, buf_slice(text));
    buf_done(text);
}

void env_fail(struct interaction *env, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!env_failed(env))
        buf_addv(&env->error, format, args);
    va_end(args);
}

bool env_failed(const struct interaction *env)
{
    return env->error.size > 0;
}

struct buf *env_indent(struct interaction *env, struct buf *inner)
{
    struct buf *outer = env->out;
    env->out = inner;
    return outer;
}

void env_dedent(struct interaction *env, struct buf *outer)
{
    struct buf *inner = env->out;
    for (const char *line = buf_text(inner); *line;) {
        size_t size = strcspn(line, "\n");
        buf_addf(outer, "  %.*s\n", (int)size, line);
        line += size + (line[size] == '\n');
    }
    buf_done(inner);
    env->out = outer;
}

/* --- queues --- */
void queue_add(struct queue *q, const struct raft_message *m)
{
    if (q->count == q->capacity) {
        q->capacity = q->capacity ? q->capacity * 2 : 8;
        q->items = mem_resize(q->items, q->capacity * sizeof *q->items);
    }
    q->items[q->count++] = raft_message_keep(m);
}

struct raft_message queue_take(struct queue *q, size_t at)
{
    struct raft_message m = q->items[at];
    q->count--;
    memmove(q->items + at, q->items + at + 1, (q->count - at) * sizeof *q->items);
    return m;
}

void queue_done(struct queue *q)
{
    for (size_t i = 0; i < q->count; i++)
        raft_message_done(&q->items[i]);
    mem_free(q->items);
    *q = (struct queue){0};
}

/* --- arguments --- */
static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

static bool is_true(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "1") == 0 || strcmp(text, "t") == 0;
}

static struct node *node_of(struct interaction *env, const char *text)
{
    uint64_t id = number(text);
    if (id > 0 && id <= env->node_count)
        return &env->node[id - 1];
    env_fail(env, "no node %s", text);
    return NULL;
}

static struct node *first_node(struct interaction *env, const struct directive *d)
{
    if (d->arg_count == 0) {
        env_fail(env, "a node is needed");
        return NULL;
    }
    return node_of(env, d->arg[0].key);
}

/* The bare words of the line. */
static size_t all_nodes(struct interaction *env, const struct directive *d, struct node *ret_nodes[NODES_MAX])
{
    size_t count = 0;
    for (unsigned i = 0; i < d->arg_count && count < NODES_MAX; i++)
        if (d->arg[i].count == 0 && (ret_nodes[count] = node_of(env, d->arg[i].key)))
            count++;
    return count;
}

/* --- members --- */
static void read_ids(struct raft_ids *ids, const struct directive_arg *arg)
{
    for (unsigned i = 0; i < arg->count; i++)
        (void)raft_ids_add(ids, number(arg->value[i]));
}

static void read_only_mode(struct interaction *env, struct raft_config *config, const char *value)
{
    if (strcmp(value, "lease-based") == 0)
        config->lease_based_reads = true;
    else if (strcmp(value, "safe") != 0)
        env_fail(env, "invalid read-only option \"%s\"", value);
}

static void node_option(struct interaction *env, const struct directive_arg *arg, struct raft_config *config,
                        struct raft_snapshot *snapshot)
{
    const char *key = arg->key, *value = arg->count ? arg->value[0] : "";
    if (strcmp(key, "voters") == 0) {
        read_ids(&snapshot->conf_state.voters, arg);
    } else if (strcmp(key, "learners") == 0) {
        read_ids(&snapshot->conf_state.learners, arg);
    } else if (strcmp(key, "inflight") == 0) {
        config->max_inflight_messages = (uint32_t)number(value);
    } else if (strcmp(key, "index") == 0) {
        snapshot->index = config->applied = number(value);
    } else if (strcmp(key, "content") == 0) {
        blob_unref(snapshot->data);
        snapshot->data = blob_copy(slice_text(value));
    } else if (strcmp(key, "async-storage-writes") == 0) {
        config->async_storage_writes = is_true(value);
    } else if (strcmp(key, "durable-campaign") == 0) {
        config->durable_campaign = is_true(value);
    } else if (strcmp(key, "prevote") == 0) {
        config->pre_vote = is_true(value);
    } else if (strcmp(key, "checkquorum") == 0) {
        config->check_quorum = is_true(value);
    } else if (strcmp(key, "max-committed-size-per-ready") == 0) {
        config->max_committed_size_per_ready = number(value);
    } else if (strcmp(key, "max-size-per-message") == 0) {
        config->max_size_per_message = number(value);
    } else if (strcmp(key, "disable-conf-change-validation") == 0) {
        config->disable_conf_change_validation = is_true(value);
    } else if (strcmp(key, "read-only") == 0) {
        read_only_mode(env, config, value);
    } else if (strcmp(key, "step-down-on-removal") == 0) {
        config->step_down_on_removal = is_true(value);
    }
}

static void do_add_nodes(struct interaction *env, const struct directive *d)
{
    struct raft_config config = {
        .election_tick = 3,
        .heartbeat_tick = 1,
        .max_size_per_message = RAFT_NO_LIMIT,
        .max_inflight_messages = INT32_MAX,
    };
    struct raft_snapshot snapshot = {0};
    for (unsigned i = 1; i < d->arg_count; i++)
        node_option(env, &d->arg[i], &config, &snapshot);
    bool bootstrap = snapshot.index || snapshot.data || snapshot.conf_state.voters.count ||
                     snapshot.conf_state.learners.count;
    if (bootstrap && snapshot.index <= 1)
        env_fail(env, "index must be specified as > 1 due to bootstrap");
    snapshot.term = bootstrap ? 1 : 0;
    uint64_t count = d->arg_count ? number(d->arg[0].key) : 0;
    for (uint64_t i = 0; i < count && !env_failed(env); i++)
        cluster_add(env, &config, &snapshot);
    blob_unref(snapshot.data);
}

static void do_restart(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (n)
        cluster_restart(env, n);
}

/* --- work --- */
static void each_node(struct interaction *env, const struct directive *d, const char *doing,
                      void (*perform)(struct interaction *, struct node *))
{
    struct node *nodes[NODES_MAX];
    size_t count = all_nodes(env, d, nodes);
    for (size_t i = 0; i < count && !env_failed(env); i++) {
        if (count == 1) {
            perform(env, nodes[i]);
            return;
        }
        struct buf inner = {0};
        env_say(env, "> %" PRIu64 " %s\n", nodes[i]->config.id, doing);
        struct buf *outer = env_indent(env, &inner);
        perform(env, nodes[i]);
        env_dedent(env, outer);
    }
}

static void do_process_ready(struct interaction *env, const struct directive *d)
{
    each_node(env, d, "handling Ready", cluster_ready);
}

static void do_process_append_thread(struct interaction *env, const struct directive *d)
{
    each_node(env, d, "processing append thread", cluster_append);
}

static void do_process_apply_thread(struct interaction *env, const struct directive *d)
{
    each_node(env, d, "processing apply thread", cluster_apply);
}

static void do_deliver_msgs(struct interaction *env, const struct directive *d)
{
    size_t count = 0;
    const struct directive_arg *type_arg = directive_find(d, "type");
    int type = -1;
    if (type_arg && (type = parse_message_type(type_arg->value[0])) < 0) {
        env_fail(env, "unknown message type %s", type_arg->value[0]);
        return;
    }
    for (unsigned i = 0; i < d->arg_count; i++) {
        const struct directive_arg *arg = &d->arg[i];
        if (arg->count == 0)
            count += cluster_deliver(env, number(arg->key), type, false);
        else if (strcmp(arg->key, "drop") == 0)
            for (unsigned j = 0; j < arg->count; j++)
                count += cluster_deliver(env, number(arg->value[j]), type, true);
    }
    if (count == 0)
        env_say(env, "no messages\n");
}

/* One message, the first that matches; all its fields except the type may be left out. */
static bool is_asked_for(const struct directive *d, const struct raft_message *m)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"term", m->term}, {"index", m->index}, {"commit", m->commit}, {"entries", m->entry_count}};
    if (m->from != number(d->arg[0].key) || m->to != number(d->arg[1].key))
        return false;
    const struct directive_arg *type = directive_find(d, "type");
    if (type && parse_message_type(type->value[0]) != (int)m->type)
        return false;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct directive_arg *arg = directive_find(d, fields[i].key);
        if (arg && number(arg->value[0]) != fields[i].value)
            return false;
    }
    return true;
}

static void one_message(struct interaction *env, const struct directive *d, bool keep, bool drop)
{
    for (size_t i = 0; d->arg_count >= 2 && i < env->network.count; i++) {
        if (is_asked_for(d, &env->network.items[i])) {
            cluster_deliver_one(env, i, keep, drop);
            return;
        }
    }
    env_say(env, "no messages\n");
}

/* deliver-one FROM TO [type=MsgApp] [term=1] [index=2] [commit=2] [entries=1] */
static void do_deliver_one(struct interaction *env, const struct directive *d)
{
    one_message(env, d, false, false);
}

static void do_deliver_copy(struct interaction *env, const struct directive *d)
{
    one_message(env, d, true, false);
}

/* The transport notices the loss and reports it to the sender. */
static void do_drop_one(struct interaction *env, const struct directive *d)
{
    one_message(env, d, false, true);
}

/* settle ID [append=true] [apply=true]: all readies, and its own disk's answers; with append and apply the
 * work of these threads, too. */
static void do_settle(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    const struct directive_arg *append = directive_find(d, "append"), *apply = directive_find(d, "apply");
    if (n)
        cluster_settle(env, n, append && is_true(append->value[0]), apply && is_true(apply->value[0]));
}

static void set_level(struct interaction *env, const char *name)
{
    static const char *names[] = {"DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"};
    for (int i = 0; i <= LEVEL_NONE; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            env->level = i;
            return;
        }
    }
    env_fail(env, "log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]");
}

static void do_log_level(struct interaction *env, const struct directive *d)
{
    set_level(env, d->arg_count ? d->arg[0].key : "");
}

static void do_stabilize(struct interaction *env, const struct directive *d)
{
    struct node *nodes[NODES_MAX];
    size_t count = all_nodes(env, d, nodes);
    if (count == 0)
        for (; count < env->node_count; count++)
            nodes[count] = &env->node[count];
    const struct directive_arg *level = directive_find(d, "log-level");
    int before = env->level;
    if (level)
        set_level(env, level->value[0]);
    if (!env_failed(env))
        cluster_stabilize(env, nodes, count);
    env->level = before;
}

/* --- events --- */
static void do_campaign(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (n)
        raft_campaign(n->raft);
}

static void do_propose(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (!n)
        return;
    struct raft_entry entry = {.data = blob_copy(slice_text(d->arg_count > 1 ? d->arg[1].key : ""))};
    cluster_report(env, raft_propose(n->raft, &entry, 1));
    blob_unref(entry.data);
}

static bool read_transition(struct interaction *env, const struct directive *d,
                            struct raft_conf_change *change)
{
    static const char *names[] = {"auto", "implicit", "explicit"};
    const struct directive_arg *arg = directive_find(d, "transition");
    if (!arg)
        return true;
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(arg->value[0], names[i]) == 0) {
            change->transition = (enum raft_transition)i;
            return true;
        }
    }
    env_fail(env, "unknown transition %s", arg->value[0]);
    return false;
}

static void do_propose_conf_change(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    struct raft_conf_change change = {0};
    if (!n || !read_transition(env, d, &change) || !parse_changes(d->input, &change, &env->error))
        return;
    const struct directive_arg *v1_arg = directive_find(d, "v1");
    bool v1 = v1_arg && is_true(v1_arg->value[0]);
    if (v1 && (change.count != 1 || change.transition != RAFT_TRANSITION_AUTO))
        env_fail(env, "v1 conf change can only have one operation and no transition");
    else
        cluster_report(env, raft_propose_conf_change(n->raft, &change, v1));
}

static void tick(struct interaction *env, const struct directive *d, uint64_t count)
{
    struct node *n = first_node(env, d);
    for (uint64_t i = 0; n && i < count; i++)
        raft_tick(n->raft);
}

static void do_tick_election(struct interaction *env, const struct directive *d)
{
    tick(env, d, 3);
}

static void do_tick_heartbeat(struct interaction *env, const struct directive *d)
{
    tick(env, d, 1);
}

static void do_tick(struct interaction *env, const struct directive *d)
{
    tick(env, d, d->arg_count > 1 ? number(d->arg[1].key) : 1);
}

static void do_set_randomized_election_timeout(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    const struct directive_arg *timeout = directive_find(d, "timeout");
    if (n && timeout)
        raft_set_election_timeout(n->raft, (uint32_t)number(timeout->value[0]));
}

static void do_transfer_leadership(struct interaction *env, const struct directive *d)
{
    const struct directive_arg *from = directive_find(d, "from"), *to = directive_find(d, "to");
    struct node *n = from && to ? node_of(env, from->value[0]) : NULL;
    if (n)
        raft_transfer_leader(n->raft, number(to->value[0]));
}

static void do_forget_leader(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (n)
        raft_forget_leader(n->raft);
}

static void do_report_unreachable(struct interaction *env, const struct directive *d)
{
    struct node *nodes[NODES_MAX];
    if (all_nodes(env, d, nodes) == 2)
        raft_report_unreachable(nodes[0]->raft, nodes[1]->config.id);
    else
        env_fail(env, "must specify exactly two node indexes: node on which to report, and reported node");
}

/* report-snapshot LEADER FOLLOWER [failed=true] */
static void do_report_snapshot(struct interaction *env, const struct directive *d)
{
    struct node *nodes[NODES_MAX];
    const struct directive_arg *failed = directive_find(d, "failed");
    if (all_nodes(env, d, nodes) == 2)
        raft_report_snapshot(nodes[0]->raft, nodes[1]->config.id, !(failed && is_true(failed->value[0])));
    else
        env_fail(env, "must specify exactly two nodes");
}

static void do_send_snapshot(struct interaction *env, const struct directive *d)
{
    struct node *nodes[NODES_MAX];
    if (all_nodes(env, d, nodes) != 2) {
        env_fail(env, "must specify exactly two nodes");
        return;
    }
    struct raft_message m = {
        .type = RAFT_MSG_SNAP,
        .term = raft_term(nodes[0]->raft),
        .from = nodes[0]->config.id,
        .to = nodes[1]->config.id,
        .snapshot = &nodes[0]->state,
    };
    struct buf text = {0};
    queue_add(&env->network, &m);
    render_message(&text, &m);
    env_say_buf(env, &text);
}

static void do_read_index(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    const char *id = d->arg_count > 1 ? d->arg[1].key : "";
    struct raft_context context = {.size = (uint8_t)strlen(id)};
    if (!n || strlen(id) > RAFT_CONTEXT_MAX)
        return;
    memcpy(context.data, id, strlen(id));
    cluster_report(env, raft_read_index(n->raft, context));
}

static void do_compact(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (!n || d->arg_count < 2)
        return;
    uint64_t index = number(d->arg[1].key);
    const char *error = storage_compact(&n->storage, index);
    if (error) {
        env_fail(env, "%s", error);
        return;
    }
    (void)raft_compact(n->raft, index);
    cluster_print_log(env, n);
}

/* --- reading states --- */
static void do_raft_log(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (n)
        cluster_print_log(env, n);
}

static void do_raft_state(struct interaction *env, const struct directive *d)
{
    (void)d;
    for (size_t i = 0; i < env->node_count; i++) {
        struct raft_status s;
        raft_get_status(env->node[i].raft, &s);
        bool voter =
            raft_ids_has(&s.conf_state.voters, s.id) || raft_ids_has(&s.conf_state.voters_outgoing, s.id);
        env_say(env, "%" PRIu64 ": %s %s Term:%" PRIu64 " Lead:%" PRIu64 "\n", s.id, render_role(s.role),
                voter ? "(Voter)" : "(Non-Voter)", s.term, s.leader);
    }
}

static void do_status(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    if (!n)
        return;
    struct raft_status s;
    raft_get_status(n->raft, &s);
    for (uint32_t i = 0; i < s.progress_count; i++) {
        struct buf text = {0};
        buf_addf(&text, "%" PRIu64 ": ", s.progress[i].id);
        render_progress(&text, &s.progress[i]);
        buf_add_byte(&text, '\n');
        env_say_buf(env, &text);
    }
}

/* The applied entries: the state machine is a string that grows. */
static void do_content(struct interaction *env, const struct directive *d)
{
    struct node *n = first_node(env, d);
    struct slice data = n ? blob_slice(n->state.data) : (struct slice){0};
    if (n)
        env_say(env, "applied %" PRIu64 ": %.*s\n", n->state.index, (int)data.size, (const char *)data.data);
}

static void do_breakpoint(struct interaction *env, const struct directive *d)
{
    (void)env;
    (void)d;
}

static const struct {
    const char *name;
    void (*run)(struct interaction *env, const struct directive *d);
} commands[] = {
    {"_breakpoint", do_breakpoint},
    {"add-nodes", do_add_nodes},
    {"campaign", do_campaign},
    {"compact", do_compact},
    {"content", do_content},
    {"deliver-copy", do_deliver_copy},
    {"deliver-msgs", do_deliver_msgs},
    {"deliver-one", do_deliver_one},
    {"drop-one", do_drop_one},
    {"forget-leader", do_forget_leader},
    {"log-level", do_log_level},
    {"process-append-thread", do_process_append_thread},
    {"process-apply-thread", do_process_apply_thread},
    {"process-ready", do_process_ready},
    {"propose", do_propose},
    {"propose-conf-change", do_propose_conf_change},
    {"raft-log", do_raft_log},
    {"raft-state", do_raft_state},
    {"read-index", do_read_index},
    {"report-snapshot", do_report_snapshot},
    {"report-unreachable", do_report_unreachable},
    {"restart", do_restart},
    {"send-snapshot", do_send_snapshot},
    {"set-randomized-election-timeout", do_set_randomized_election_timeout},
    {"settle", do_settle},
    {"stabilize", do_stabilize},
    {"status", do_status},
    {"tick", do_tick},
    {"tick-election", do_tick_election},
    {"tick-heartbeat", do_tick_heartbeat},
    {"transfer-leadership", do_transfer_leadership},
};

struct interaction *interaction_new(void)
{
    return mem_new(sizeof(struct interaction));
}

void interaction_free(struct interaction *env)
{
    for (size_t i = 0; i < env->node_count; i++) {
        struct node *n = &env->node[i];
        raft_free(n->raft);
        storage_done(&n->storage);
        blob_unref(n->state.data);
        queue_done(&n->append_work);
        queue_done(&n->apply_work);
    }
    queue_done(&env->network);
    mem_free(env);
}

void interaction_run(void *arg, const struct directive *d, struct buf *out)
{
    struct interaction *env = arg;
    bool known = false;
    env->out = out;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, d->command) == 0) {
            known = true;
            commands[i].run(env, d);
        }
    }
    if (!known)
        env_fail(env, "unknown command");
    buf_add_slice(out, buf_slice(&env->error)); /* errors are printed at any level */
    buf_done(&env->error);
    if (out->size == 0)
        buf_add_text(out, "ok");
}
