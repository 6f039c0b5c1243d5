/* SPDX-License-Identifier: Apache-2.0
 * Scenarios of pure arithmetic: the index that a quorum has committed, the votes that a quorum has decided,
 * and the configuration that a change leads to. */
#include "consensus/raft/confchange.h"
#include "tests/scenario/interaction.h"
#include "tests/scenario/render.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- quorum: committed cfg=(1,2,3) [cfgj=(..)|cfgj=zero] idx=(_,5,..); vote .. votes=(y,n,_) --- */
struct voters {
    struct raft_ids half[2], all;
    bool joint;
    uint64_t order[2 * RAFT_MEMBERS_MAX]; /* first appearance: the order of the values given */
    unsigned count;
    uint64_t value[2 * RAFT_MEMBERS_MAX]; /* by order; 0 = silent. Votes: 1 no, 2 yes */
};

static void read_half(struct voters *v, unsigned half, const struct directive_arg *arg)
{
    for (unsigned i = 0; arg && i < arg->count; i++) {
        if (strcmp(arg->value[i], "zero") == 0)
            continue;
        uint64_t id = strtoull(arg->value[i], NULL, 10);
        (void)raft_ids_add(&v->half[half], id);
        if (!raft_ids_has(&v->all, id))
            v->order[v->count++] = id;
        (void)raft_ids_add(&v->all, id);
    }
}

static uint64_t read_value(const char *text)
{
    if (strcmp(text, "y") == 0)
        return 2;
    if (strcmp(text, "n") == 0)
        return 1;
    return strtoull(text, NULL, 10); /* 0 for "_" */
}

static uint64_t value_of(const struct voters *v, uint64_t id)
{
    for (unsigned i = 0; i < v->count; i++)
        if (v->order[i] == id)
            return v->value[i];
    return 0;
}

static uint64_t committed_of(const struct voters *v, unsigned half)
{
    uint64_t acked[RAFT_MEMBERS_MAX];
    for (uint32_t i = 0; i < v->half[half].count; i++)
        acked[i] = value_of(v, v->half[half].id[i]);
    return raft_majority_index(acked, v->half[half].count);
}

static enum raft_vote_result vote_of(const struct voters *v, unsigned half)
{
    enum raft_vote votes[RAFT_MEMBERS_MAX];
    for (uint32_t i = 0; i < v->half[half].count; i++)
        votes[i] = (enum raft_vote)value_of(v, v->half[half].id[i]);
    return raft_majority_vote(votes, v->half[half].count);
}

/* The bar of a member is as long as the number of members with a lower index (the same for equal ones). */
static unsigned bar_of(const struct voters *v, uint64_t id)
{
    unsigned lower = 0;
    for (uint32_t i = 0; i < v->all.count; i++)
        lower += value_of(v, v->all.id[i]) < value_of(v, id);
    return lower;
}

static void draw(const struct voters *v, struct buf *out)
{
    int n = (int)v->all.count;
    if (n == 0) {
        buf_add_text(out, "<empty majority quorum>");
        return;
    }
    buf_addf(out, "%*s    idx\n", n, "");
    for (int i = 0; i < n; i++) {
        uint64_t id = v->all.id[i], value = value_of(v, id);
        int bar = value ? (int)bar_of(v, id) : 0;
        for (int x = 0; x < bar; x++)
            buf_add_byte(out, 'x');
        buf_addf(out, "%c%*s %5" PRIu64 "    (id=%" PRIx64 ")\n", value ? '>' : '?', n - bar, "", value, id);
    }
}

static void committed(const struct voters *v, struct buf *out)
{
    uint64_t index = raft_joint_index(committed_of(v, 0), committed_of(v, 1));
    draw(v, out);
    if (raft_joint_index(committed_of(v, 1), committed_of(v, 0)) != index)
        buf_add_text(out, "different via symmetry\n");
    if (index == RAFT_NO_LIMIT)
        buf_add_text(out, "\u221e\n");
    else
        buf_addf(out, "%" PRIu64 "\n", index);
}

static void vote(const struct voters *v, struct buf *out)
{
    static const char *names[] = {"VotePending", "VoteLost", "VoteWon"};
    enum raft_vote_result result = raft_joint_vote(vote_of(v, 0), vote_of(v, 1));
    if (raft_joint_vote(vote_of(v, 1), vote_of(v, 0)) != result)
        buf_add_text(out, "different via symmetry\n");
    buf_addf(out, "%s\n", names[result]);
}

void quorum_run(void *unused, const struct directive *d, struct buf *out)
{
    (void)unused;
    struct voters v = {0};
    bool is_vote = strcmp(d->command, "vote") == 0;
    const struct directive_arg *values = directive_find(d, is_vote ? "votes" : "idx");
    read_half(&v, 0, directive_find(d, "cfg"));
    read_half(&v, 1, directive_find(d, "cfgj"));
    if ((values ? values->count : 0) != v.count) {
        buf_addf(out, "error: mismatched input (explicit or _) for voters");
        return;
    }
    for (unsigned i = 0; i < v.count; i++)
        v.value[i] = read_value(values->value[i]);
    if (is_vote)
        vote(&v, out);
    else
        committed(&v, out);
}

/* --- confchange: simple, enter-joint [autoleave=true], leave-joint; input: v1 l2 r3 u4 --- */
struct confchange {
    struct raft_tracker tracker;
    uint64_t last_index; /* one more with each command */
};

struct confchange *confchange_new(void)
{
    struct confchange *c = mem_new(sizeof *c);
    c->tracker.inflight_max = 10;
    return c;
}

void confchange_free(struct confchange *c)
{
    raft_tracker_done(&c->tracker);
    mem_free(c);
}

static enum raft_conf_error change_config(struct confchange *c, const struct directive *d,
                                          const struct raft_conf_change *change)
{
    const struct directive_arg *auto_leave = directive_find(d, "autoleave");
    if (strcmp(d->command, "simple") == 0)
        return raft_conf_simple(&c->tracker, c->last_index, change->changes, change->count);
    if (strcmp(d->command, "enter-joint") == 0)
        return raft_conf_enter_joint(&c->tracker, c->last_index,
                                     auto_leave && strcmp(auto_leave->value[0], "true") == 0, change->changes,
                                     change->count);
    return raft_conf_leave_joint(&c->tracker);
}

static void describe(const struct raft_tracker *t, struct buf *out)
{
    render_conf_state(out, &t->config);
    buf_add_byte(out, '\n');
    for (uint32_t i = 0; i < t->count; i++) {
        struct raft_progress_status status = raft_progress_status(&t->progress[i]);
        buf_addf(out, "%" PRIu64 ": ", status.id);
        render_progress(out, &status);
        buf_add_byte(out, '\n');
    }
}

void confchange_run(void *confchange, const struct directive *d, struct buf *out)
{
    static const char *errors[] = {
        [RAFT_CONF_ALREADY_JOINT] = "config is already joint",
        [RAFT_CONF_NOT_JOINT] = "can't leave a non-joint config",
        [RAFT_CONF_NO_VOTERS] = "can't make a zero-voter config joint",
        [RAFT_CONF_SIMPLE_IN_JOINT] = "can't apply simple config change in joint config",
        [RAFT_CONF_MANY_VOTERS] = "more than one voter changed without entering joint config",
        [RAFT_CONF_REMOVED_ALL] = "removed all voters",
        [RAFT_CONF_FULL] = "too many members",
    };
    struct confchange *c = confchange;
    struct raft_conf_change change = {0};
    bool known = strcmp(d->command, "simple") == 0 || strcmp(d->command, "enter-joint") == 0 ||
                 strcmp(d->command, "leave-joint") == 0;
    if (!known) {
        buf_add_text(out, "unknown command");
    } else if (!parse_changes(d->input, &change, out)) {
        /* the error is printed */
    } else if (strcmp(d->command, "leave-joint") == 0 && change.count > 0) {
        buf_add_text(out, "this command takes no input");
    } else {
        enum raft_conf_error err = change_config(c, d, &change);
        if (err)
            buf_add_text(out, errors[err]);
        else
            describe(&c->tracker, out);
    }
    c->last_index++;
}
