/* SPDX-License-Identifier: Apache-2.0
 * One state of a small cluster of raft cores, as a value: members with their disks, the messages on the way,
 * what has happened so far as far as the rules need it, and what may still happen.
 *
 * Members and messages are shared between states and never changed once they are (copy on write), so that the
 * next state costs one member. The core itself runs unchanged; the host around it is the simplest correct
 * one: readies are handled at once, messages lie on the network in no order, the disk answers when the action
 * DISK says so, one batch at a time. A message that is never delivered is a lost one, so losing needs no
 * action of its own; DROP is a loss that the transport notices and reports. */
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

/* What may happen, and the name of its budget; in the order in which a state's actions are listed. */
enum action_kind {
#define ACTION(name, text) ACTION_##name,
#include "tests/explore/action.def"
#undef ACTION
    ACTION_KINDS
};

struct action {
    enum action_kind kind;
    uint8_t member;  /* number, from 0; messages: the receiver */
    uint8_t other;   /* TRANSFER: to whom; CHANGE: which */
    uint64_t packet; /* messages: its hash */
};

struct scope {
    char name[32];
    uint32_t members, voters, learners; /* voters, learners: bits by number */
    uint32_t leader; /* the id of who leads at the beginning, all being quiet; 0 = nobody */
    uint32_t lag;    /* members, by bit, whose disks take their time */
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

/* What survives a crash. The store is as old as it may be: at the beginning of the log. */
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

/* What was ever true: only grows, and is part of the state. */
struct past {
    struct {
        uint64_t term, entry, by_term; /* entry: hash; by_term: the term in which it was first committed */
        uint64_t content;              /* of who applied it first; 0 = nobody yet */
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

/* Before anything else in a program that explores: where failed assertions go (explore_assert). */
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
/* Cuts every leader off for ever and asks that it notices (with check-quorum). Leaves w in any state. */
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
