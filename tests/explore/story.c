/* SPDX-License-Identifier: Apache-2.0
 * The writer of a path as a file for the scenario runner (tests/scenario), so that a path which the explorer
 * discovers can be kept. `scenario --rewrite` writes the outputs. */
#include "tests/explore/search.h"
#include "tests/scenario/render.h"

static void print_ids(struct buf *out, const char *name, uint32_t bits, uint32_t members)
{
    const char *before = "";
    if (!bits)
        return;
    buf_addf(out, " %s=(", name);
    for (uint32_t i = 0; i < members; i++) {
        if (!(bits >> i & 1))
            continue;
        buf_addf(out, "%s%u", before, i + 1);
        before = ",";
    }
    buf_add_text(out, ")");
}

static void command_end(struct buf *out)
{
    buf_add_text(out, "\n----\nok\n\n");
}

static void print_setup(struct buf *out, const struct scope *s)
{
    uint32_t joined = s->voters | s->learners;
    for (uint32_t i = 0; i < s->members; i++) {
        bool member = joined >> i & 1;
        buf_addf(out, "add-nodes 1");
        if (member) {
            print_ids(out, "voters", s->voters, s->members);
            print_ids(out, "learners", s->learners & ~s->voters, s->members);
            buf_addf(out, " index=%d", EXPLORE_BOOT);
        }
        buf_addf(out, " async-storage-writes=true%s%s%s%s", s->early_votes ? "" : " durable-campaign=true",
                 s->single ? " max-size-per-message=0" : "", s->pre_vote ? " prevote=true" : "",
                 s->check_quorum ? " checkquorum=true" : "");
        command_end(out);
    }
}

static void print_ticks(struct buf *out, const struct world *w, uint32_t number, uint32_t timeout,
                        uint32_t ticks)
{
    if (w->member[number]->raft->role != RAFT_LEADER) {
        buf_addf(out, "set-randomized-election-timeout %u timeout=%u", number + 1, timeout);
        command_end(out);
    }
    buf_addf(out, "tick %u %u", number + 1, ticks);
}

static void print_message(struct buf *out, const char *command, const struct raft_message *m)
{
    struct buf text = {0};
    render_message(&text, m);
    buf_addf(out, "# ");
    for (size_t i = 0; i < text.size; i++)
        buf_add_byte(out, text.data[i] == '\n' ? ' ' : (uint8_t)text.data[i]);
    buf_done(&text);
    buf_addf(out, "\n%s %u %u type=%s term=%u index=%u commit=%u entries=%u", command, (unsigned)m->from,
             (unsigned)m->to, render_message_type(m->type), (unsigned)m->term, (unsigned)m->index,
             (unsigned)m->commit, (unsigned)m->entry_count);
}

static void print_member_action(struct buf *out, const struct world *w, const struct action *a)
{
    const struct raft *r = w->member[a->member]->raft;
    uint32_t missing =
        r->election_elapsed < EXPLORE_ELECTION_TICK ? EXPLORE_ELECTION_TICK - r->election_elapsed : 0;
    unsigned id = a->member + 1u;
    switch (a->kind) {
    case ACTION_DISK:
        buf_addf(out, "process-append-thread %u", id);
        break;
    case ACTION_APPLY:
        buf_addf(out, "process-apply-thread %u", id);
        break;
    case ACTION_PROPOSE:
        buf_addf(out, "propose %u %c", id, 'a' + w->proposals_made);
        break;
    case ACTION_TIMEOUT:
        print_ticks(out, w, a->member, EXPLORE_ELECTION_TICK, missing ? missing : 1);
        break;
    case ACTION_EXPIRE:
        print_ticks(out, w, a->member, EXPLORE_ELECTION_TICK + 1, missing);
        break;
    case ACTION_BEAT:
        buf_addf(out, "tick %u 1", id);
        break;
    case ACTION_CRASH:
        buf_addf(out, "restart %u", id);
        break;
    case ACTION_CHANGE:
        buf_addf(out, "propose-conf-change %u\n%s", id, w->scope->change_text[a->other]);
        break;
    case ACTION_TRANSFER:
        buf_addf(out, "transfer-leadership from=%u to=%u", id, a->other + 1);
        break;
    case ACTION_READ:
        buf_addf(out, "read-index %u %c", id, 'A' + w->reads_begun);
        break;
    case ACTION_COMPACT:
        buf_addf(out, "compact %u %u", id, (unsigned)w->member[a->member]->applied.index);
        break;
    case ACTION_DELIVER:
    case ACTION_DUPLICATE:
    case ACTION_DROP:
    case ACTION_KINDS:
        break;
    }
}

static void print_settle(struct buf *out, const struct scope *s, uint32_t number)
{
    bool lags = s->lag >> number & 1;
    buf_addf(out, "settle %u%s%s", number + 1, lags ? "" : " append=true", s->lazy ? "" : " apply=true");
    command_end(out);
}

void story_print(const struct scope *scope, const struct path *path, struct buf *out)
{
    struct world *w = world_new(scope);
    buf_add_text(out, "log-level none\n----\nok\n\n");
    print_setup(out, scope);
    if (scope->leader) {
        buf_addf(out, "campaign %u", scope->leader);
        command_end(out);
        buf_add_text(out, "stabilize");
        command_end(out);
    }
    if (scope->leader && scope->joint.count) {
        buf_addf(out, "propose-conf-change %u transition=explicit\n%s", scope->leader, scope->joint_text);
        command_end(out);
        buf_add_text(out, "stabilize");
        command_end(out);
    }
    buf_add_text(out, "log-level info");
    command_end(out);
    for (uint32_t i = 0; i < path->count; i++) {
        const struct action *a = &path->action[i];
        const struct packet *p = a->packet ? world_find(w, a->packet) : NULL;
        static const char *commands[ACTION_KINDS] = {[ACTION_DELIVER] = "deliver-one",
                                                     [ACTION_DUPLICATE] = "deliver-copy",
                                                     [ACTION_DROP] = "drop-one"};
        if (a->packet && !p)
            continue;
        if (p)
            print_message(out, commands[a->kind], &p->message);
        else
            print_member_action(out, w, a);
        command_end(out);
        print_settle(out, scope, a->kind == ACTION_DROP ? (uint32_t)p->message.from - 1 : a->member);
        if (i + 1 < path->count)
            (void)world_act(w, a);
    }
    buf_add_text(out, "raft-state");
    command_end(out);
    world_free(w);
}
