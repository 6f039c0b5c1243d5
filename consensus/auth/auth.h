/* SPDX-License-Identifier: Apache-2.0
 * Users, roles and permissions: etcd's auth store.
 *
 *   - Only log entries change it (auth_apply.c). It is stored in the AUTH table in the same transaction as
 *     everything else, so every snapshot has it.
 *   - Every change of a user, a role or a permission increments the auth revision. A request that names an
 *     older one is refused.
 *
 * No clock, no hashing, no tokens: passwords come here as bcrypt hashes, tokens are in token.h. */
#ifndef CONSENSUS_AUTH_AUTH_H
#define CONSENSUS_AUTH_AUTH_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "base/list.h"
#include "consensus/auth/ranges.h"
#include "consensus/auth/who.h"
#include "proto/auth.pb-c.h"
#include "proto/internal.pb-c.h"
#include "proto/rpc.pb-c.h"

struct store;

#define AUTH_ROOT "root" /* the user that must exist, and the role with every permission */

/* A name is part of a key of the table, and all of them are in memory. */
enum {
    AUTH_NAME_MAX = 256,
    AUTH_NAMES_MAX = 65536,      /* users; roles */
    AUTH_ROLES_MAX = 1024,       /* of one user */
    AUTH_PERMISSIONS_MAX = 4096, /* of one role */
};

/* Rows of BACKEND_AUTH: a prefix and the name, or the whole key. */
#define AUTH_ROW_USER     "user/"
#define AUTH_ROW_ROLE     "role/"
#define AUTH_ROW_REVISION "revision" /* 8 bytes BE */
#define AUTH_ROW_ENABLED  "enabled"  /* 1 byte */

struct auth_permission {
    struct slice key, range_end;
    Authpb__Permission__Type type;
};

struct auth_role {
    char *name;
    struct auth_permission *list; /* ascending key */
    size_t count;
    uint64_t changed; /* number of the last change of the list */
    /* [0]: readable, [1]: writable ranges. merged: the change that they reflect; 0 = not yet */
    uint64_t merged[2];
    struct auth_ranges ranges[2];
};

struct auth_merge;

/* The ranges that a user may read, or write: those of all its roles, merged after a change of one of them
 * (rights.c). */
struct auth_rights {
    struct auth_ranges ranges;
    struct auth_merge *merge; /* under way, or NULL */
    bool is_merge_requested;  /* in auth_merge_some */
    uint64_t merged;          /* number of the last change that they contain; 0 = none */
    uint64_t seen;            /* number of the last change that was found not to matter */
};

struct auth_user {
    char *name;
    struct slice password; /* a bcrypt hash; empty = none */
    bool has_no_password;
    char **roles; /* ascending */
    size_t role_count;
    uint64_t credential;    /* auth revision of the password; a credential from before it is invalid */
    uint64_t changed;       /* number of the last change of its roles */
    struct link merge_link; /* in auth.merge_queue */
    struct auth_rights read, write;
};

struct auth {
    bool is_enabled;
    uint64_t revision;
    struct auth_user **users; /* ascending name */
    struct auth_role **roles;
    size_t user_count, role_count;
    struct link *merge_queue; /* users whose rights must be merged; NULL: rights are merged at once */
};

void auth_done(struct auth *a);
/* Loads the committed table. An empty one means: not enabled, revision 1, as in a new etcd. ERR_CORRUPT,
 * ERR_IO. */
MUST_CHECK int auth_load(struct auth *a, struct store *s);

struct auth_user *auth_user_find(const struct auth *a, struct slice name); /* or NULL */
struct auth_role *auth_role_find(const struct auth *a, struct slice name);
bool auth_has_role(const struct auth_user *u, const char *role);

/* --- authorization: all of it OK while auth is not enabled --------------------------------------------- */
/* Checks that the author is an existing user with a valid credential; not its permissions. ERR_USER_EMPTY,
 * ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION. */
MUST_CHECK int auth_check_user(const struct auth *a, const struct auth_who *who);
/* ERR_USER_EMPTY, ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED */
MUST_CHECK int auth_check_admin(const struct auth *a, const struct auth_who *who);
/* ERR_USER_EMPTY, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED */
MUST_CHECK int auth_check_range(const struct auth *a, const struct auth_who *who, struct slice key,
                                struct slice range_end, bool is_write);

/* The keys that the author may read, valid until the next change. NULL: all of them (root, or auth is not
 * enabled). ERR_USER_EMPTY, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED: no such user. */
MUST_CHECK int auth_readable(const struct auth *a, const struct auth_who *who,
                             const struct auth_ranges **ret_ranges);

/* Merges the rights that the author's next write, or read, needs, and subtracts its work from *units. True:
 * they are merged, or there are none. */
bool auth_prepare(const struct auth *a, const struct auth_who *who, bool is_write, int64_t *units);
/* The same for users that needed their rights before these were merged. True: there are none left. */
bool auth_merge_some(const struct auth *a, int64_t *units);

/* --- log entries -------------------------------------------------------------------------------------- */
/* Applies an Auth request inside store_begin and store_end. The response is in the arena, its header is
 * empty. Not for Authenticate (token.h). op: its field number in InternalRaftRequest. Errors are etcd's
 * (base/err.h). */
MUST_CHECK int auth_apply(struct auth *a, struct store *s, int op, const ProtobufCMessage *m,
                          const struct auth_who *who, struct arena *arena, ProtobufCMessage **ret_response);

/* For auth_apply.c: writes the record to the table, or deletes it. */
void auth_save_user(const struct auth_user *u, struct store *s);
void auth_save_role(const struct auth_role *r, struct store *s);
void auth_save_flags(const struct auth *a, struct store *s);
struct auth_user *auth_user_add(struct auth *a, struct slice name);
struct auth_role *auth_role_add(struct auth *a, struct slice name);
void auth_user_delete(struct auth *a, struct auth_user *u, struct store *s);
void auth_role_delete(struct auth *a, struct auth_role *r, struct store *s);
bool auth_user_add_role(struct auth_user *u, const char *role); /* false: it has the role already */
bool auth_user_drop_role(struct auth_user *u, const char *role);
void auth_user_set_password(struct auth_user *u, struct slice hash);
void auth_role_set(struct auth_role *r, struct slice key, struct slice range_end,
                   Authpb__Permission__Type type);
bool auth_role_drop(struct auth_role *r, struct slice key, struct slice range_end);

#endif
