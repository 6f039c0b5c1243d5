/* SPDX-License-Identifier: Apache-2.0
 * The cluster's feature level and version, and downgrade jobs (feature_level.c). */
#ifndef CONSENSUS_KV_FEATURE_LEVEL_H
#define CONSENSUS_KV_FEATURE_LEVEL_H

#include "consensus/entry.h"
#include "consensus/feature.h"
#include "consensus/kv.h"
#include "consensus/kv/apply.h"
#include "consensus/raft/message.h"

/* The level that a member has announced. */
struct kv_member_level {
    uint64_t id;
    unsigned level;
};

struct kv_level_round {
    struct kv *kv;
    struct kv_member_rpc rpc;
    bool is_running;
    size_t count;
    struct kv_member_level list[RAFT_MEMBERS_MAX];
};

struct kv_feature_level {
    struct feature_state state; /* as of the last applied entry */
    unsigned max;               /* what this build has */
    uint64_t due_ms;            /* when the leader queries the members again */
    struct kv_level_round round;
    char text[400]; /* why this member cannot go on, or one that joins is refused */
};

/* Of a new store. ERR_LEVEL: kv_feature_text says why. */
MUST_CHECK int kv_feature_load(struct kv *kv);
void kv_feature_open(struct kv *kv, unsigned max);
void kv_feature_close(struct kv *kv);
void kv_feature_tick(struct kv *kv); /* in every turn and tick: a new leader queries at once */
/* True: this member is alone in its cluster and sets its level next. It is ready with it, so that the first request of a
 * new cluster finds everything that this build can do. */
bool kv_feature_is_coming(const struct kv *kv);
void kv_feature_check_soon(struct kv *kv); /* another leader: at its next tick */
/* True on every member alike: the entry has no effect. */
bool kv_feature_is_void(const struct kv *kv, const struct entry *e);
/* True: it must not be applied, this member ends. m is NULL when it does not decode. */
bool kv_feature_stops(struct kv *kv, uint64_t index, const struct entry *e, const ProtobufCMessage *m);
void kv_feature_apply_version(struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m);
struct kv_outcome kv_feature_apply_downgrade(struct kv *kv, const Etcdserverpb__DowngradeInfoSetRequest *m);
/* Why a member of this level is refused when it joins; NULL: it is not. Valid until the next call. */
const char *kv_feature_refusal(struct kv *kv, unsigned level);
const char *kv_feature_text(const struct kv *kv);
/* The minor version that a downgrade job leads to; 0 = none. */
unsigned kv_feature_target_minor(const struct kv *kv);
/* Mutant: the level of a snapshot is taken to be this build's. */
void kv_feature_raise_to_own(struct kv *kv);

#endif
