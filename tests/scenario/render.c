/* SPDX-License-Identifier: Apache-2.0
 * The text of messages, entries and configurations. */
#include "tests/scenario/render.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

static const char *message_names[] = {
#define MESSAGE(name, etcd, local, response) #etcd,
#include "consensus/raft/message.def"
#undef MESSAGE
};

const char *render_message_type(enum raft_message_type type)
{
    return message_names[type];
}

int parse_message_type(const char *name)
{
    for (int i = 0; i < RAFT_MSG_COUNT; i++)
        if (strcmp(message_names[i], name) == 0)
            return i;
    return -1;
}

const char *render_role(enum raft_role role)
{
    static const char *names[] = {"StateFollower", "StateCandidate", "StateLeader", "StatePreCandidate"};
    return names[role];
}

/* --- configurations --- */
void render_ids(struct buf *b, const struct raft_ids *ids)
{
    buf_add_byte(b, '(');
    for (uint32_t i = 0; i < ids->count; i++)
        buf_addf(b, "%s%" PRIx64, i ? " " : "", ids->id[i]);
    buf_add_byte(b, ')');
}

void render_conf_state(struct buf *b, const struct raft_conf_state *state)
{
    buf_add_text(b, "voters=");
    render_ids(b, &state->voters);
    if (state->voters_outgoing.count) {
        buf_add_text(b, "&&");
        render_ids(b, &state->voters_outgoing);
    }
    if (state->learners.count) {
        buf_add_text(b, " learners=");
        render_ids(b, &state->learners);
    }
    if (state->learners_next.count) {
        buf_add_text(b, " learners_next=");
        render_ids(b, &state->learners_next);
    }
    if (state->auto_leave)
        buf_add_text(b, " autoleave");
}

/* As Go prints a slice: [1 2 3]. */
static void render_list(struct buf *b, const char *name, const struct raft_ids *ids)
{
    buf_addf(b, "%s:[", name);
    for (uint32_t i = 0; i < ids->count; i++)
        buf_addf(b, "%s%" PRIu64, i ? " " : "", ids->id[i]);
    buf_add_byte(b, ']');
}

static void render_snapshot(struct buf *b, const struct raft_snapshot *s)
{
    buf_addf(b, "Index:%" PRIu64 " Term:%" PRIu64 " ConfState:", s->index, s->term);
    render_list(b, "Voters", &s->conf_state.voters);
    render_list(b, " VotersOutgoing", &s->conf_state.voters_outgoing);
    render_list(b, " Learners", &s->conf_state.learners);
    render_list(b, " LearnersNext", &s->conf_state.learners_next);
    buf_addf(b, " AutoLeave:%s", s->conf_state.auto_leave ? "true" : "false");
}

void render_progress(struct buf *b, const struct raft_progress_status *p)
{
    static const char *states[] = {"StateProbe", "StateReplicate", "StateSnapshot"};
    buf_addf(b, "%s match=%" PRIu64 " next=%" PRIu64, states[p->state], p->match, p->next);
    if (p->learner)
        buf_add_text(b, " learner");
    if (p->paused)
        buf_add_text(b, " paused");
    if (p->pending_snapshot)
        buf_addf(b, " pendingSnap=%" PRIu64, p->pending_snapshot);
    if (!p->recent_active)
        buf_add_text(b, " inactive");
    if (p->inflight)
        buf_addf(b, " inflight=%u%s", p->inflight, p->inflight_full ? "[full]" : "");
}

void render_changes(struct buf *b, const struct raft_conf_change *change)
{
    static const char letters[] = {'v', 'r', 'u', 'l'};
    for (uint32_t i = 0; i < change->count; i++)
        buf_addf(b, "%s%c%" PRIu64, i ? " " : "", letters[change->changes[i].type],
                 change->changes[i].node_id);
}

static bool parse_change(const char *word, size_t size, struct raft_conf_change_single *single)
{
    static const char letters[] = "vrul";
    const char *at = strchr(letters, word[0]);
    if (!at || size < 2)
        return false;
    char *end;
    single->type = (enum raft_conf_change_type)(at - letters);
    single->node_id = strtoull(word + 1, &end, 10);
    return end == word + size;
}

bool parse_changes(const char *text, struct raft_conf_change *change, struct buf *ret_error)
{
    for (const char *p = text; *p;) {
        size_t size = strcspn(p, " ");
        if (size &&
            (change->count == RAFT_CHANGES_MAX || !parse_change(p, size, &change->changes[change->count]))) {
            buf_addf(ret_error, "unknown token %.*s", (int)size, p);
            return false;
        }
        change->count += size > 0;
        p += size;
        p += *p == ' ';
    }
    return true;
}

/* --- entries --- */
/* Go's %q, for the text that scenarios use; bytes above ASCII go through as they are. */
static void render_quoted(struct buf *b, struct slice data)
{
    static const char *escapes = "\a\b\f\n\r\t\v\\\"", *letters = "abfnrtv\\\"";
    buf_add_byte(b, '"');
    for (size_t i = 0; i < data.size; i++) {
        uint8_t c = data.data[i];
        const char *at = c ? strchr(escapes, c) : NULL;
        if (at)
            buf_addf(b, "\\%c", letters[at - escapes]);
        else if (c < 0x20 || c == 0x7f)
            buf_addf(b, "\\x%02x", c);
        else
            buf_add_byte(b, c);
    }
    buf_add_byte(b, '"');
}

void render_entry(struct buf *b, const struct raft_entry *e)
{
    static const char *types[] = {"EntryNormal", "EntryConfChange", "EntryConfChangeV2"};
    struct raft_conf_change change;
    struct buf text = {0};
    buf_addf(b, "%" PRIu64 "/%" PRIu64 " %s", e->term, e->index, types[e->type]);
    if (e->type == RAFT_ENTRY_NORMAL)
        render_quoted(&text, blob_slice(e->data));
    else if (raft_conf_change_decode(blob_slice(e->data), e->type == RAFT_ENTRY_CONF_CHANGE, &change))
        buf_add_text(&text, "malformed");
    else
        render_changes(&text, &change);
    if (text.size)
        buf_addf(b, " %s", buf_text(&text));
    buf_done(&text);
}

void render_entries(struct buf *b, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        render_entry(b, &entries[i]);
        buf_add_byte(b, '\n');
    }
}

/* --- messages --- */
static void render_target(struct buf *b, uint64_t id)
{
    if (id == RAFT_NONE)
        buf_add_text(b, "None");
    else if (id == RAFT_APPEND_THREAD)
        buf_add_text(b, "AppendThread");
    else if (id == RAFT_APPLY_THREAD)
        buf_add_text(b, "ApplyThread");
    else
        buf_addf(b, "%" PRIx64, id);
}

static void render_message_entries(struct buf *b, const struct raft_message *m, int indent)
{
    if (m->entry_count == 0)
        return;
    buf_add_text(b, " Entries:[");
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entry_count > 1)
            buf_addf(b, "\n%*s", indent + 2, "");
        render_entry(b, &m->entries[i]);
    }
    if (m->entry_count > 1)
        buf_addf(b, "\n%*s", indent, "");
    buf_add_byte(b, ']');
}

static void render_indented(struct buf *b, const struct raft_message *m, int indent)
{
    buf_addf(b, "%*s", indent, "");
    render_target(b, m->from);
    buf_add_text(b, "->");
    render_target(b, m->to);
    buf_addf(b, " %s Term:%" PRIu64 " Log:%" PRIu64 "/%" PRIu64, message_names[m->type], m->term, m->log_term,
             m->index);
    if (m->reject)
        buf_addf(b, " Rejected (Hint: %" PRIu64 ")", m->reject_hint);
    if (m->commit)
        buf_addf(b, " Commit:%" PRIu64, m->commit);
    if (m->vote)
        buf_addf(b, " Vote:%" PRIu64, m->vote);
    render_message_entries(b, m, indent);
    if (m->snapshot && m->snapshot->index) {
        buf_addf(b, "\n%*s  Snapshot: ", indent, "");
        render_snapshot(b, m->snapshot);
    }
    if (m->response_count) {
        buf_add_text(b, " Responses:[");
        for (size_t i = 0; i < m->response_count; i++) {
            buf_add_byte(b, '\n');
            render_indented(b, &m->responses[i], indent + 2);
        }
        buf_addf(b, "\n%*s]", indent, "");
    }
}

void render_message(struct buf *b, const struct raft_message *m)
{
    render_indented(b, m, 0);
}

/* --- ready --- */
static void render_reads(struct buf *b, const struct raft_ready *rd)
{
    buf_add_text(b, "ReadStates [");
    for (size_t i = 0; i < rd->read_state_count; i++) {
        const struct raft_read_state *read = &rd->read_states[i];
        buf_addf(b, "%s{%" PRIu64 " [", i ? " " : "", read->index);
        for (uint8_t j = 0; j < read->context.size; j++)
            buf_addf(b, "%s%u", j ? " " : "", read->context.data[j]);
        buf_add_text(b, "]}");
    }
    buf_add_text(b, "]\n");
}

static void render_states(struct buf *b, const struct raft_ready *rd)
{
    if (rd->has_soft_state)
        buf_addf(b, "Lead:%" PRIu64 " State:%s\n", rd->soft_state.leader, render_role(rd->soft_state.role));
    if (rd->has_hard_state) {
        buf_addf(b, "HardState Term:%" PRIu64, rd->hard_state.term);
        if (rd->hard_state.vote)
            buf_addf(b, " Vote:%" PRIu64, rd->hard_state.vote);
        buf_addf(b, " Commit:%" PRIu64 "\n", rd->hard_state.commit);
    }
}

void render_ready(struct buf *b, const struct raft_ready *rd)
{
    struct buf text = {0};
    render_states(&text, rd);
    if (rd->read_state_count)
        render_reads(&text, rd);
    if (rd->entry_count) {
        buf_add_text(&text, "Entries:\n");
        render_entries(&text, rd->entries, rd->entry_count);
    }
    if (rd->snapshot) {
        buf_add_text(&text, "Snapshot ");
        render_snapshot(&text, rd->snapshot);
        buf_add_byte(&text, '\n');
    }
    if (rd->committed_count) {
        buf_add_text(&text, "CommittedEntries:\n");
        render_entries(&text, rd->committed, rd->committed_count);
    }
    if (rd->message_count)
        buf_add_text(&text, "Messages:\n");
    for (size_t i = 0; i < rd->message_count; i++) {
        render_message(&text, &rd->messages[i]);
        buf_add_byte(&text, '\n');
    }
    if (text.size)
        buf_addf(b, "Ready MustSync=%s:\n%s", rd->must_sync ? "true" : "false", buf_text(&text));
    else
        buf_add_text(b, "<empty Ready>");
    buf_done(&text);
}
