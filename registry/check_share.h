/* SPDX-License-Identifier: Apache-2.0
 * Division of the health checks among the members. Pure.
 *
 * The leader asks every member once in CHECK_ROUND_MS whether it runs checks. A member that has not answered
 * for CHECK_SILENT_MS does not count. The question names the members that count, so that all members divide
 * the checks in the same way: each check belongs to the member with the highest hash of both (rendezvous
 * hashing), and a member that comes or goes moves only its own share.
 *
 * A member uses the division for CHECK_LEASE_MS after a question. A member that is cut off therefore stops
 * soon after the others have taken over its checks. A question of an older term is refused. A new leader has
 * heard of no member yet: its first question names none, and the last division stays. Nothing of this is
 * stored. */
#ifndef REGISTRY_CHECK_SHARE_H
#define REGISTRY_CHECK_SHARE_H

#include "base/buf.h"
#include "base/err.h"

#define CHECK_ROUND_MS    1000
#define CHECK_SILENT_MS   2500
#define CHECK_LEASE_MS    4000
#define CHECK_MEMBERS_MAX 64

struct check_share {
    uint64_t term;
    uint64_t ids[CHECK_MEMBERS_MAX]; /* sorted */
    size_t count;
    uint64_t until_ms; /* it is over then */
};

/* The hash of a check's key: the same on every member. */
uint64_t check_share_hash(struct slice key);
/* The member that runs the check; 0: none does. */
uint64_t check_share_holder(const struct check_share *s, uint64_t hash);

/* The leader's question. */
void check_share_write(const struct check_share *s, struct buf *out);
/* Takes over the division of a question. *ret_is_changed: its members are others than before. ERR_MALFORMED;
 * ERR_INVALID: an older term. */
MUST_CHECK int check_share_accept(struct check_share *s, struct slice question, uint64_t now_ms,
                                  bool *ret_is_changed);
/* The answer: does this member run checks? */
void check_share_write_answer(bool is_able, struct buf *out);
bool check_share_read_answer(struct slice answer);
/* Forgets a division whose lease is over. True: it did. */
bool check_share_expire(struct check_share *s, uint64_t now_ms);

/* The members that the leader has heard of. */
struct check_roll {
    struct {
        uint64_t id, heard_ms;
    } list[CHECK_MEMBERS_MAX];
    size_t count;
};
void check_roll_hear(struct check_roll *r, uint64_t id, uint64_t now_ms);
/* Forgets the silent ones, and fills the ids of s. True: they are others than before. */
bool check_roll_take(struct check_roll *r, uint64_t now_ms, struct check_share *s);

#endif
