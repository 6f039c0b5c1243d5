/* SPDX-License-Identifier: Apache-2.0
 * Entries of etcd's log: which of them a new member applies. Their bytes are etcd's InternalRaftRequest, which
 * Cairn's log has as well (proto/internal.proto), so they need no translation.
 *
 *   applied    changes of keys, leases, alarms, users and roles. etcd 3.4 logs passwords as text: these entries
 *              get the hash first, because Cairn's log never has a password
 *   left out   everything of the old cluster: its members, its version, and logins, whose tokens are void.
 *              Also requests of etcd's v2 (until 3.5 a member's name is one), and those that only read.
 *   refused    operations that this version does not know, and fields that only Cairn writes */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "consensus/entry.h"
#include "consensus/etcd_db/etcd_log.h"
#include "consensus/raft/message.h"
#include "proto/internal.pb-c.h"

enum { V2_FIELD = 2, PRIVATE_FIRST = 14000 };

static bool is_of_old_cluster(enum entry_op op)
{
    static const enum entry_op ops[] = {
        ENTRY_AUTHENTICATE,    ENTRY_AUTH_STATUS,       ENTRY_AUTH_USER_GET,
        ENTRY_AUTH_USER_LIST,  ENTRY_AUTH_ROLE_GET,     ENTRY_AUTH_ROLE_LIST,
        ENTRY_CLUSTER_VERSION, ENTRY_MEMBER_ATTRIBUTES, ENTRY_DOWNGRADE_INFO,
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i] == op)
            return true;
    return false;
}

/* etcd 3.4 logs the password itself, and hashes it when it applies the entry. */
static bool is_plain_password(enum entry_op op, const ProtobufCMessage *m)
{
    if (op == ENTRY_AUTH_USER_ADD) {
        const Etcdserverpb__AuthUserAddRequest *add = (const Etcdserverpb__AuthUserAddRequest *)m;
        return !*add->hashedpassword && !(add->options && add->options->no_password);
    }
    return op == ENTRY_AUTH_USER_CHANGE_PASSWORD &&
           !*((const Etcdserverpb__AuthUserChangePasswordRequest *)m)->hashedpassword;
}

static int check_message(const struct entry *e, enum etcd_entry_kind *ret_kind, const char **ret_reason)
{
    ProtobufCMessage *m =
        protobuf_c_message_unpack(entry_descriptor(e->op), NULL, e->body.size, e->body.data);
    if (!m) {
        *ret_reason = "its operation cannot be read";
        return ERR_CORRUPT;
    }
    *ret_kind = is_plain_password(e->op, m) ? ETCD_ENTRY_PASSWORD : ETCD_ENTRY_APPLIED;
    protobuf_c_message_free_unpacked(m, NULL);
    return OK;
}

int etcd_entry_check(unsigned type, struct slice data, enum etcd_entry_kind *ret_kind,
                     const char **ret_reason)
{
    struct entry e;
    *ret_kind = ETCD_ENTRY_EMPTY;
    if (type == RAFT_ENTRY_CONF_CHANGE || type == RAFT_ENTRY_CONF_CHANGE_V2) {
        *ret_kind = ETCD_ENTRY_CONF;
        return OK;
    }
    if (type != RAFT_ENTRY_NORMAL) {
        *ret_reason = "it has an unknown type";
        return ERR_LEVEL;
    }
    if (!data.size)
        return OK;
    *ret_kind = ETCD_ENTRY_CLUSTER;
    if (entry_decode(data, &e) != OK) /* a request of v2, as etcd 3.4 and 3.5 log it */
        return OK;
    if (e.unknown == V2_FIELD || (!e.unknown && (e.is_skipped || is_of_old_cluster(e.op))))
        return OK;
    if (e.unknown || (int)e.op >= PRIVATE_FIRST || e.level || e.has_needs || e.who.is_own) {
        *ret_reason = "this version of Cairn does not know its operation";
        return ERR_LEVEL;
    }
    return check_message(&e, ret_kind, ret_reason);
}

/* --- passwords of etcd 3.4 --------------------------------------------------------------------------- */

static void make_salt(const struct entry *e, const char *user, uint8_t ret_salt[ETCD_ENTRY_SALT_SIZE])
{
    uint8_t id[8], digest[32];
    struct sha256 *sha = sha256_new();
    put_be64(id, e->id);
    sha256_add(sha, id, sizeof id);
    sha256_add(sha, user, strlen(user));
    sha256_finish(sha, digest);
    memcpy(ret_salt, digest, ETCD_ENTRY_SALT_SIZE);
}

int etcd_entry_hash_password(struct slice data,
                             const char *(*hash)(void *arg, const char *password,
                                                 const uint8_t salt[ETCD_ENTRY_SALT_SIZE]),
                             void *arg, struct buf *ret_data)
{
    struct entry e;
    struct arena arena = {0};
    struct buf text = {0};
    uint8_t salt[ETCD_ENTRY_SALT_SIZE];
    char **password, **hashed, *name;
    buf_clear(ret_data);
    int err = entry_decode(data, &e);
    ProtobufCMessage *m = err ? NULL
                              : protobuf_c_message_unpack(entry_descriptor(e.op), arena_allocator(&arena),
                                                          e.body.size, e.body.data);
    if (!m || !is_plain_password(e.op, m)) {
        arena_done(&arena);
        return ERR_CORRUPT;
    }
    if (e.op == ENTRY_AUTH_USER_ADD) {
        Etcdserverpb__AuthUserAddRequest *add = (Etcdserverpb__AuthUserAddRequest *)m;
        name = add->name;
        password = &add->password;
        hashed = &add->hashedpassword;
    } else {
        Etcdserverpb__AuthUserChangePasswordRequest *change =
            (Etcdserverpb__AuthUserChangePasswordRequest *)m;
        name = change->name;
        password = &change->password;
        hashed = &change->hashedpassword;
    }
    make_salt(&e, name, salt);
    const char *result = hash(arg, *password, salt);
    if (result) {
        base64_encode(&text, slice_text(result));
        *hashed = (char *)(uintptr_t)buf_text(&text);
        **password = 0;
        struct blob *entry = entry_encode(0, e.id, e.op, m, &e.who);
        buf_add_slice(ret_data, blob_slice(entry));
        blob_unref(entry);
    }
    buf_done(&text);
    arena_done(&arena);
    return result ? OK : ERR_INTERNAL;
}
