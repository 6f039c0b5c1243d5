/* SPDX-License-Identifier: Apache-2.0
 * Two futures of a state: all faults are healed, or its leaders are cut off for ever. */
#include "tests/explore/host.h"

static bool settle_one(struct world *w, bool *ret_moved)
{
    struct action a = {.kind = ACTION_DELIVER};
    for (uint8_t i = 0; i < w->scope->members; i++) { /* no queue may overflow */
        if (w->member[i]->append.count > EXPLORE_WORK / 2) {
            *ret_moved = true;
            return world_act(w, &(struct action){.kind = ACTION_DISK, .member = i});
        }
    }
    if (w->packet_count) {
        a.member = (uint8_t)(w->packet[0]->message.to - 1);
        a.packet = w->packet[0]->hash;
        *ret_moved = true;
        return world_act(w, &a);
    }
    for (uint8_t i = 0; i < w->scope->members; i++) {
        a.member = i;
        a.kind = w->member[i]->append.count ? ACTION_DISK : ACTION_APPLY;
        if (w->member[i]->append.count || w->member[i]->apply.count) {
            *ret_moved = true;
            return world_act(w, &a);
        }
    }
    return true;
}

void world_settle(struct world *w)
{
    bool moved = true;
    for (uint32_t i = 0; moved && i < 10000 && !w->broken; i++) {
        moved = false;
        (void)settle_one(w, &moved);
    }
}

static bool has_progress(const struct world *w, uint64_t before)
{
    const struct raft *leader = NULL;
    for (uint32_t i = 0; i < w->scope->members; i++)
        if (w->member[i]->raft->role == RAFT_LEADER && (!leader || w->member[i]->raft->term > leader->term))
            leader = w->member[i]->raft;
    if (!leader || leader->log.committed <= before || leader->tracker.config.auto_leave)
        return false;
    for (uint32_t i = 0; i < leader->tracker.count; i++) {
        uint64_t id = leader->tracker.progress[i].id;
        if (id > w->scope->members || w->member[id - 1]->raft->log.applied < leader->log.committed)
            return false;
    }
    return true;
}

/* All messages in flight are lost: the worst state with which a healed network can begin. The host reports
 * the outcome of each snapshot to the leader, as it must; it reports no other losses. */
static void lose_all(struct world *w)
{
    while (w->packet_count)
        packet_unref(w->packet[--w->packet_count]);
    for (uint32_t i = 0; i < w->scope->members; i++) {
        struct raft *r = world_member(w, i)->raft;
        for (uint32_t p = 0; p < r->tracker.count && r->role == RAFT_LEADER; p++)
            raft_report_snapshot(r, r->tracker.progress[p].id, false);
    }
}

void world_isolate(struct world *w)
{
    uint32_t rounds = 3 * EXPLORE_ELECTION_TICK;
    for (uint8_t i = 0; i < w->scope->members && w->scope->check_quorum && !w->broken; i++) {
        if (w->member[i]->raft->role != RAFT_LEADER ||
            raft_tracker_is_singleton(&w->member[i]->raft->tracker))
            continue;
        for (uint32_t round = 0; round < rounds && !w->broken; round++) {
            lose_all(w);
            if (w->member[i]->raft->role == RAFT_LEADER)
                (void)world_act(w, &(struct action){.kind = ACTION_BEAT, .member = i});
        }
        if (!w->broken)
            rules_isolated(w, i);
    }
}

/* A known limit of configurations that take effect when applied, etcd's too (#10563). A voter that has
 * applied its own removal cannot campaign any more. A member that does not know of the removal yet needs that
 * voter's vote. If it has lost the end of the log in a crash, it does not get the vote. The explorer does not
 * require progress of such states. */
static bool waits_for_removed(const struct world *w)
{
    for (uint32_t i = 0; i < w->scope->members; i++) {
        const struct raft_tracker *t = &w->member[i]->raft->tracker;
        for (uint32_t v = 0; v < w->scope->members; v++)
            if (raft_tracker_is_voter(t, v + 1) && raft_tracker_is_voter(t, i + 1) &&
                w->member[v]->applied.index > w->member[i]->applied.index &&
                !raft_tracker_is_voter(&w->member[v]->raft->tracker, v + 1))
                return true;
    }
    return false;
}

void world_heal(struct world *w)
{
    uint64_t before = w->past.last;
    if (waits_for_removed(w))
        return;
    lose_all(w);
    memset(w->budget, 0, sizeof w->budget);
    for (uint32_t round = 0; round < 80 && !w->broken; round++) {
        world_settle(w);
        if (has_progress(w, before))
            return;
        for (uint8_t i = 0; i < w->scope->members && !w->broken; i++) {
            struct raft *r = w->member[i]->raft;
            /* Timeouts in no regular order: otherwise two members could block each other for ever. */
            bool turn_of = round % 4 == 0 && explore_mix(5, round) % w->scope->members == i;
            enum action_kind kind = r->role == RAFT_LEADER          ? ACTION_BEAT
                                    : turn_of && raft_promotable(r) ? ACTION_TIMEOUT
                                                                    : ACTION_EXPIRE;
            (void)world_act(w, &(struct action){.kind = kind, .member = i});
            world_settle(w);
            r = w->member[i]->raft;
            if (r->role == RAFT_LEADER && round >= 8 && r->log.committed <= before &&
                raft_log_last(&r->log) < before + 12 && !w->broken)
                (void)world_act(w, &(struct action){.kind = ACTION_PROPOSE, .member = i});
        }
    }
    world_break(w, "ProgressAfterHealing",
                "no leader that commits and brings all members along in 80 rounds");
}
