/* SPDX-License-Identifier: Apache-2.0
 * Raft messages between members and to a node's own storage: entries, snapshots, configurations. Plain values
 * with etcd's fields.
 *
 * Ownership, in both directions: a message is BORROWED. The core copies what it keeps. Payloads are counted
 * references, so a copy costs 32 bytes an entry and no allocation. The host encodes a message, or keeps a
 * copy with raft_message_keep. Neither side frees what the other gave. */
#ifndef CONSENSUS_RAFT_MESSAGE_H
#define CONSENSUS_RAFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/blob.h"
#include "base/err.h"

#define RAFT_NONE          UINT64_C(0)      /* no member: ids start at 1 */
#define RAFT_APPEND_THREAD UINT64_MAX       /* `to` of STORAGE_APPEND, `from` of its response */
#define RAFT_APPLY_THREAD  (UINT64_MAX - 1) /* `to` of STORAGE_APPLY, `from` of its response */
#define RAFT_NO_LIMIT      UINT64_MAX
#define RAFT_MEMBERS_MAX   64                  /* voters of both halves and learners together */
#define RAFT_POSITION_MAX  (UINT64_C(1) << 62) /* no term or index above it is accepted */

enum raft_entry_type {
    RAFT_ENTRY_NORMAL,
    RAFT_ENTRY_CONF_CHANGE,    /* data: raftpb.ConfChange */
    RAFT_ENTRY_CONF_CHANGE_V2, /* data: raftpb.ConfChangeV2; no data = leave the joint configuration */
};

struct raft_entry {
    uint64_t index, term;
    enum raft_entry_type type;
    struct blob *data; /* NULL = empty */
};

/* Sorted, without repetition. */
struct raft_ids {
    uint32_t count;
    uint64_t id[RAFT_MEMBERS_MAX];
};

bool raft_ids_has(const struct raft_ids *ids, uint64_t id);
bool raft_ids_add(struct raft_ids *ids, uint64_t id); /* false = full */
void raft_ids_remove(struct raft_ids *ids, uint64_t id);

struct raft_conf_state {
    struct raft_ids voters;          /* the incoming half when joint */
    struct raft_ids voters_outgoing; /* not empty = joint */
    struct raft_ids learners;
    struct raft_ids learners_next; /* voters of the outgoing half that become learners when it is left */
    bool auto_leave;
};

/* The state of the store up to and including index. The core never reads data; it should be small, a name by
 * which the host finds or streams the state. */
struct raft_snapshot {
    uint64_t index, term; /* index 0 = no snapshot */
    struct raft_conf_state conf_state;
    struct blob *data;
};

struct raft_hard_state {
    uint64_t term, vote, commit;
};

#define RAFT_CONTEXT_MAX 16 /* bytes */
struct raft_context {
    uint8_t size; /* 0 = none */
    uint8_t data[RAFT_CONTEXT_MAX];
};

enum raft_message_type {
#define MESSAGE(name, etcd, local, response) RAFT_MSG_##name,
#include "consensus/raft/message.def"
#undef MESSAGE
    RAFT_MSG_COUNT
};

struct raft_message {
    enum raft_message_type type;
    bool reject;
    uint64_t to, from;
    uint64_t term;     /* 0 = local or forwarded, never compared */
    uint64_t log_term; /* the term at index */
    uint64_t index;
    uint64_t commit;
    uint64_t vote; /* STORAGE_APPEND only: with term and commit the hard state; all three 0 = unchanged */
    uint64_t reject_hint;
    struct raft_context
        context; /* reads: the id; heartbeats: the core's read counter; votes: transfer mark */
    const struct raft_entry *entries;
    size_t entry_count;
    const struct raft_snapshot *snapshot; /* NULL = none */
    const struct raft_message
        *responses; /* STORAGE_APPEND, STORAGE_APPLY: deliver them when the work is done */
    size_t response_count;
};

bool raft_message_is_local(enum raft_message_type type);
bool raft_message_is_response(enum raft_message_type type);

/* A copy that owns all its pointers (one more reference on each payload). */
struct raft_message raft_message_keep(const struct raft_message *m);
void raft_message_done(struct raft_message *m); /* only on a kept message; leaves it zeroed */

/* Bytes of an entry in size limits: its protobuf encoding, as in etcd. */
size_t raft_entry_size(const struct raft_entry *e);
/* Bytes of memory of a payload; 0 for NULL. */
uint64_t raft_payload_bytes(const struct blob *data);

/* --- configuration changes --- */
enum raft_conf_change_type { /* raftpb's numbers */
                             RAFT_ADD_NODE,
                             RAFT_REMOVE_NODE,
                             RAFT_UPDATE_NODE, /* changes nothing here; the host keeps addresses */
                             RAFT_ADD_LEARNER,
};

enum raft_transition {
    RAFT_TRANSITION_AUTO, /* simple if possible, else a joint configuration that is left by itself */
    RAFT_TRANSITION_JOINT_IMPLICIT, /* joint, left by itself */
    RAFT_TRANSITION_JOINT_EXPLICIT, /* joint until an empty change is proposed */
};

struct raft_conf_change_single {
    enum raft_conf_change_type type;
    uint64_t node_id; /* 0 = skip this change: the host has refused it at apply */
};

#define RAFT_CHANGES_MAX RAFT_MEMBERS_MAX
struct raft_conf_change {
    enum raft_transition transition;
    uint32_t count; /* 0 (with transition auto) = leave the joint configuration */
    struct raft_conf_change_single changes[RAFT_CHANGES_MAX];
    uint64_t id;          /* v1 only: the host's request number */
    struct slice context; /* the host's own bytes (a member's name and addresses); borrowed */
};

/* Payload of an entry of type CONF_CHANGE (v1: exactly one change, transition auto) or CONF_CHANGE_V2. */
struct blob *raft_conf_change_encode(const struct raft_conf_change *change, bool v1);
/* context points into data. ERR_MALFORMED, ERR_LIMIT. */
MUST_CHECK int raft_conf_change_decode(struct slice data, bool v1, struct raft_conf_change *ret_change);

#endif
