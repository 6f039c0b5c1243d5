/* SPDX-License-Identifier: Apache-2.0
 * One state of a small cluster of raft cores, as a value. It holds the members with their disks, the
 * messages in flight, the history that the rules need, and the actions that may still happen.
 *
 * States share members and messages, which never change after they are made (copy on write). So the next
 * state costs one member. The core itself runs unchanged. The host around it is the simplest correct one:
 * - it handles readies at once,
 * - messages in flight have no order,
 * - the disk answers one batch at a time, when the action DISK happens.
 * A message that is never delivered is a lost message, so a loss needs no action of its own. DROP is a loss
 * that the transport notices and reports. */
#ifndef TESTS_EXPLORE_WORLD_H
#define TESTS_EXPLORE_WORLD_H

#include "consensus/raft/core.h"

enum {
    EXPLORE_MEMBERS = 5, /* at most; ids are 1 .. */
    EXPLORE_PACKETS = 96,
    EXPLORE_WORK = 64,
    EXPLORE_INDEX = 40, /* positions of the log and terms that the history can hold */
    EXPLORE_TERM = 48,
    EXPLORE_READS = 4,
    EXPLORE_CHANGES = 4,
    EXPLORE_BOOT = 2, /* the log begins after a snapshot at this index, in term 1, as in the scenario files */
    EXPLORE_ELECTION_TICK = 3,
};

/* Actions that may happen, and the name of their budget; in the order in which a state's actions are listed.
 */
enum action_kind {
#define ACTION(name, text) ACTION_##name,
#include "tests/explore/action.def"
#undef ACTION
    ACTION_KINDS
};

struct action {
    enum action_kind kind;
    uint8_t member;  /* number, from 0; messages: the receiver */
    uint8_t other;   /* TRANSFER: the receiver; CHANGE: its number */
    uint64_t packet; /* messages: its hash */
};

struct scope {
    char name[32];
    uint32_t members, voters, learners; /* voters, learners: bits by number */
    uint32_t leader; /* the id of the leader at the beginning, with nothing in flight; 0 = no leader */
    uint32_t lag;    /* members, by bit, whose disks answer as an action of their own */
    bool lazy, pre_vote, check_quorum;
    bool single;      /* one entry in a message */
    bool early_votes; /* as etcd: vote requests do not wait for the disk */
    uint32_t depth;   /* of actions; 0 = as far as budgets reach */
    uint8_t budget[ACTION_KINDS];
    struct raft_conf_change change[EXPLORE_CHANGES];
    char change_text[EXPLORE_CHANGES][64];
    uint32_t change_count;
    struct raft_conf_change
        joint; /* begins in this joint configuration, which only a change of nothing leaves */
    char joint_text[64];
};

/* A message, shared. */
struct packet {
    uint32_t references;
    uint64_t hash;
    struct raft_message message; /* kept */
};

struct work {
    struct packet *item[EXPLORE_WORK];
    uint32_t count;
};

/* The data that survive a crash. The store is as old as possible: at the beginning of the log. */
struct disk {
    struct raft_hard_state hard;
    struct raft_position before;
    struct raft_conf_state conf; /* at before */
    uint64_t content;            /* hash over all entries applied, at before */
    struct raft_entry entry[EXPLORE_INDEX];
    uint32_t count;
};

struct member {
    uint32_t references;
    uint64_t hash;
    struct raft *raft;
    struct disk disk;
    struct work append, apply;
    /* The state machine. */
    struct raft_position applied;
    struct raft_conf_state conf;
    uint64_t content;
};

/* Everything that was ever true: it only grows, and is part of the state. */
struct past {
    struct {
        uint64_t term, entry, by_term; /* entry: hash; by_term: the term in which it was first committed */
        uint64_t content;              /* of the member that applied it first; 0 = none yet */
    } committed[EXPLORE_INDEX];
    uint64_t last; /* committed anywhere */
    uint8_t leader[EXPLORE_TERM];
    uint8_t granted[EXPLORE_MEMBERS][EXPLORE_TERM]; /* votes that left the member */
    uint64_t read_floor[EXPLORE_READS];             /* `last` when the read began */
};

struct world {
    const struct scope *scope;
    struct member *member[EXPLORE_MEMBERS];
    struct packet *packet[EXPLORE_PACKETS];
    uint32_t packet_count;
    uint8_t budget[ACTION_KINDS];
    uint8_t reads_begun, proposals_made;
    struct past past;
    const char *broken; /* the first rule that does not hold; NULL = none */
    char detail[160];
};

/* Call it before anything else in a program that explores: failed assertions then become violations
 * (explore_assert). */
struct world *world_new(const struct scope *scope);
struct world *world_copy(const struct world *w);
void world_free(struct world *w);
uint64_t world_hash(struct world *w);

enum { EXPLORE_ACTIONS = 512 };
uint32_t world_actions(const struct world *w, struct action ret_actions[EXPLORE_ACTIONS]);
/* False when it cannot happen here; a budget of 0 does not forbid. Sets broken. */
bool world_act(struct world *w, const struct action *action);
/* Delivers and writes all until nothing moves. */
void world_settle(struct world *w);
/* Heals everything and asks for progress; sets broken when there is none. Leaves w in any state. */
void world_heal(struct world *w);
/* Cuts every leader off for ever and checks that it notices (with check-quorum). Leaves w in any state. */
void world_isolate(struct world *w);

struct packet *world_find(const struct world *w, uint64_t packet);
void world_break(struct world *w, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* rules.c: after member i has changed. */
void rules_check(struct world *w, uint32_t i);
void rules_sent(struct world *w, uint32_t i, const struct raft_message *m);
void rules_read(struct world *w, const struct raft_read_state *read);
void rules_applied(struct world *w, uint32_t i);
struct before {
    uint64_t term;
    bool hears_leader;
};
struct before rules_before(const struct world *w, uint32_t i);
void rules_stepped(struct world *w, uint32_t i, const struct before *before, const struct raft_message *m);
void rules_timed_out(struct world *w, uint32_t i);
void rules_isolated(struct world *w, uint32_t i);

uint64_t explore_mix(uint64_t h, uint64_t value);
uint64_t explore_entry_hash(const struct raft_entry *e);

#endif
