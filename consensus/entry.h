/* SPDX-License-Identifier: Apache-2.0
 * What a log entry's bytes are: one InternalRaftRequest (proto/internal.proto), framed by hand because it is
 * on the path of every write: a header with the request's id, then one operation. Pure. */
#ifndef CONSENSUS_ENTRY_H
#define CONSENSUS_ENTRY_H

#include <protobuf-c/protobuf-c.h>

#include "base/blob.h"
#include "base/err.h"
#include "consensus/auth/who.h"

/* The operations, by their field number in InternalRaftRequest. */
enum entry_op {
    ENTRY_PUT = 4,
    ENTRY_DELETE_RANGE = 5,
    ENTRY_TXN = 6,
    ENTRY_COMPACTION = 7,
    ENTRY_LEASE_GRANT = 8,
    ENTRY_LEASE_REVOKE = 9,
    ENTRY_ALARM = 10,
    ENTRY_LEASE_CHECKPOINT = 11,
    ENTRY_AUTH_ENABLE = 1000,
    ENTRY_AUTH_DISABLE = 1011,
    ENTRY_AUTHENTICATE = 1012,
    ENTRY_AUTH_STATUS = 1013,
    ENTRY_AUTH_USER_ADD = 1100,
    ENTRY_AUTH_USER_DELETE = 1101,
    ENTRY_AUTH_USER_GET = 1102,
    ENTRY_AUTH_USER_CHANGE_PASSWORD = 1103,
    ENTRY_AUTH_USER_GRANT_ROLE = 1104,
    ENTRY_AUTH_USER_REVOKE_ROLE = 1105,
    ENTRY_AUTH_USER_LIST = 1106,
    ENTRY_AUTH_ROLE_LIST = 1107,
    ENTRY_AUTH_ROLE_ADD = 1200,
    ENTRY_AUTH_ROLE_DELETE = 1201,
    ENTRY_AUTH_ROLE_GET = 1202,
    ENTRY_AUTH_ROLE_GRANT_PERMISSION = 1203,
    ENTRY_AUTH_ROLE_REVOKE_PERMISSION = 1204,
    ENTRY_CLUSTER_VERSION = 1300,
    ENTRY_MEMBER_ATTRIBUTES = 1301,
    ENTRY_DOWNGRADE_INFO = 1302,
    ENTRY_STATE_CHECK = 15000, /* ours */
    ENTRY_TRIAL = 15001,       /* a Put of a kind that only tests propose (feature.h) */
};

/* Fields that a version may skip when it does not know them; any other one that it does not know stops it. */
enum {
    ENTRY_SKIP_FIRST = 14000, /* of InternalRaftRequest */
    ENTRY_SKIP_LAST = 14999,
    ENTRY_SKIP_HEADER_FIRST = 64, /* of its header */
    ENTRY_SKIP_HEADER_LAST = 99,
};

/* Whose word an entry is, for the check of permissions when it is applied. */
struct entry_who {
    bool is_own; /* of a member itself, which may everything; a client's entry never says so */
    struct slice user;
    uint64_t auth_revision; /* 0 = nobody */
    /* For entry_encode: what the author must be allowed, in place of the operation's keys; NULL = those. */
    const struct auth_needs *needs;
};

struct entry {
    uint64_t member, id;  /* header: whose request this is and which; id 0 = nobody waits */
    struct entry_who who; /* the user is borrowed */
    enum entry_op op;
    struct slice body; /* the operation's message, borrowed */
    bool has_needs;    /* entry_next_need says which; there may be none of them */
    struct slice needs;
    unsigned level;       /* the feature level that it needs; 0 = the first */
    struct slice version; /* of ours that brought that level, as its author knows it; may be empty */
    /* The number of a field that this version does not know and must not skip; 0 = none. Then nothing else of
     * the entry may be believed but its level and version. */
    uint64_t unknown;
    bool is_skipped; /* it holds nothing but what may be skipped */
};

/* NULL for operations that this version does not know. */
const ProtobufCMessageDescriptor *entry_descriptor(enum entry_op op);

/* One reference for the caller. */
struct blob *entry_encode(uint64_t member, uint64_t id, enum entry_op op, const ProtobufCMessage *message,
                          const struct entry_who *who);
/* ERR_MALFORMED if the bytes are no such message or hold no operation at all. Fields inside the operation's
 * message that this version does not know are skipped: clients send them (they come with newer clients), and
 * whatever a later version gives a meaning to, it reads only in entries of that level. */
MUST_CHECK int entry_decode(struct slice bytes, struct entry *ret_entry);
/* Takes the first of an entry's needs from `rest`, which begins as entry.needs; the slices are borrowed.
 * ERR_NOT_FOUND: there is none left. ERR_MALFORMED. */
MUST_CHECK int entry_next_need(struct slice *rest, struct auth_need *ret_need);

#endif
