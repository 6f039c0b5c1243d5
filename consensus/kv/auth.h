/* SPDX-License-Identifier: Apache-2.0
 * Users, roles and tokens: entries of the Auth service and the checks of requests (auth.c). */
#ifndef CONSENSUS_KV_AUTH_H
#define CONSENSUS_KV_AUTH_H

#include "consensus/auth/auth.h"
#include "consensus/auth/token.h"
#include "consensus/entry.h"
#include "consensus/kv.h"
#include "consensus/kv/apply.h"

struct kv_auth {
    struct auth rights;
    uint64_t epoch; /* kv_auth_epoch */
    struct auth_tokens tokens;
};

void kv_auth_init(struct kv_auth *a, uint64_t token_ttl_ms);
void kv_auth_done(struct kv_auth *a);
void kv_auth_tick(struct kv *kv);                  /* tokens expire */
const struct auth *kv_rights(const struct kv *kv); /* users, roles and permissions */
/* The author of a proposal of r, as its entry names it. Borrows from r->who and r->needs. */
struct entry_who kv_author_of(const struct kv *kv, const struct kv_request *r);
struct kv_outcome kv_apply_auth(struct kv *kv, const struct entry *e, const ProtobufCMessage *m);
int kv_check_entry(struct kv *kv, const struct entry *e, const ProtobufCMessage *m); /* auth is enabled */
int kv_check_read(struct kv *kv, const struct kv_request *r);                        /* the same */
/* False: the preparation of the entry's check takes longer than this turn has. Come again. */
bool kv_prepare_author(struct kv *kv, const struct raft_entry *entry);
/* Merges rights that reads and streams need, and lets keep-alives go on; true: there is more. */
bool kv_auth_turn(struct kv *kv);
int kv_auth_load(struct kv *kv); /* of a new store */

#endif
