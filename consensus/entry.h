/* SPDX-License-Identifier: Apache-2.0
 * Encoding of log entries: one InternalRaftRequest (proto/internal.proto), a header with the request's id
 * and one operation. It is encoded by hand, because every write needs it. Pure. */
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
    ENTRY_STATE_CHECK = 15000, /* Cairn's */
    ENTRY_TRIAL = 15001,       /* a Put of a kind that only tests propose (feature.h) */
};

/* A version skips unknown fields of these ranges. Any other unknown field stops the member. */
enum {
    ENTRY_SKIP_FIRST = 14000, /* of InternalRaftRequest */
    ENTRY_SKIP_LAST = 14999,
    ENTRY_SKIP_HEADER_FIRST = 64, /* of its header */
    ENTRY_SKIP_HEADER_LAST = 99,
};

/* The author of an entry, for the authorization when it is applied. */
struct entry_who {
    bool is_own; /* a member itself, which has every permission; never set for a client's entry */
    struct slice user;
    uint64_t auth_revision; /* 0 = anonymous */
    /* For entry_encode: the permissions that the author needs; NULL = those for the operation's keys. */
    const struct auth_needs *needs;
    /* Of administrative requests, for the audit trail: the name in the client's certificate, and the client's
     * address. Nothing is decided by them. */
    struct slice client_name, client_address;
};

struct entry {
    uint64_t member, id;  /* header: the proposing member and its request; id 0 = nobody waits */
    struct entry_who who; /* the user is borrowed */
    enum entry_op op;
    struct slice body; /* the operation's message, borrowed */
    bool has_needs;    /* entry_next_need reads them; the list may be empty */
    struct slice needs;
    unsigned level;       /* the feature level that it needs; 0 = the first */
    struct slice version; /* Cairn's version that added the level, as the author knows it; may be empty */
    /* The number of an unknown field that must not be skipped; 0 = none. If it is set, only level and version
     * of the entry are valid. */
    uint64_t unknown;
    bool is_skipped; /* all of its fields may be skipped */
};

/* NULL for operations that this version does not know. */
const ProtobufCMessageDescriptor *entry_descriptor(enum entry_op op);

/* Returns a new blob; the caller owns one reference. */
struct blob *entry_encode(uint64_t member, uint64_t id, enum entry_op op, const ProtobufCMessage *message,
                          const struct entry_who *who);
/* ERR_MALFORMED: the bytes are no such message, or have no operation. Unknown fields inside the operation's
 * message are skipped, because newer clients send them. A later version that gives such a field a meaning
 * reads it only in entries of its level. */
MUST_CHECK int entry_decode(struct slice bytes, struct entry *ret_entry);
/* Takes the next need from `rest`, which begins as entry.needs; the slices are borrowed. ERR_NOT_FOUND:
 * none is left. ERR_MALFORMED. */
MUST_CHECK int entry_next_need(struct slice *rest, struct auth_need *ret_need);

#endif
