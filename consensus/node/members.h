/* SPDX-License-Identifier: Apache-2.0
 * Member list: ids, names and URLs of the cluster's members, as the log has decided them. It is kept in
 * memory and written to the store's META table in the transaction of the entry that changed it. */
#ifndef CONSENSUS_NODE_MEMBERS_H
#define CONSENSUS_NODE_MEMBERS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct store;

struct member {
    uint64_t id;
    char *name; /* "" until the member has started once */
    char **peer_urls, **client_urls;
    size_t peer_url_count, client_url_count;
    bool is_learner;
    bool
        promotes_itself; /* a learner that joined by itself; one of `member add` waits for `member promote` */
    bool was_heard;      /* a message of it came since this process began. In memory only */
};

struct members {
    struct member *list; /* ascending ids */
    size_t count;
    uint64_t *removed; /* ids of former members: never used again */
    size_t removed_count;
};

struct member *member_find(const struct members *m, uint64_t id);
/* Copies its arguments. An existing id is replaced. The pointer is valid until the list changes. */
struct member *member_set(struct members *m, uint64_t id, const char *const *peer_urls, size_t count,
                          bool is_learner);
/* Name and client URLs, which a member publishes once it serves. Copies its arguments. */
void member_set_attributes(struct member *member, const char *name, const char *const *client_urls,
                           size_t count);
void member_remove(struct members *m,
                   uint64_t id); /* records the id as removed, also one that was no member */
bool member_is_removed(const struct members *m, uint64_t id);
/* Not counting the member `without`; 0 = no such member. */
size_t members_count_learners(const struct members *m, uint64_t without);
void members_done(struct members *m);

/* Inside store_begin and store_end. */
void member_save(const struct member *member, struct store *s);
void member_save_removed(uint64_t id, struct store *s);
/* The member as a row of META; appends to both. */
void member_write_row(const struct member *member, struct buf *ret_key, struct buf *ret_value);
/* Adds what a row of META says; a row of another kind adds nothing. ERR_CORRUPT. */
MUST_CHECK int members_read_row(struct members *m, struct slice key, struct slice value);
/* Into an empty list. ERR_CORRUPT, ERR_IO. */
MUST_CHECK int members_load(struct members *m, struct store *s);
/* In ascending ids, as MemberList answers. The list lives in the arena. */
void members_fill(const struct members *m, struct arena *a, size_t *ret_count,
                  Etcdserverpb__Member ***ret_list);

#endif
