/* SPDX-License-Identifier: Apache-2.0
 * v3electionpb.Election without Observe, as etcd's:
 *
 *   Campaign            waits in the queue of the election (line.c)
 *   Proclaim, Resign    transactions that succeed only while the leader's key is the one it was elected with
 *   Leader              reads the oldest key */
#include "proto/election.pb-c.h"
#include "proto/txn.h"
#include "server/rpc/service.h"

static const char NO_LEADER_FIELD[] = "\"leader\" field must be provided";
static const char NOT_LEADER[] = "election: not leader";

enum { LEASE_TTL_S = 60 };

static void rpc_election_service_on_turn(struct rpc_call *c, const struct line_place *place)
{
    V3electionpb__CampaignResponse response = V3ELECTIONPB__CAMPAIGN_RESPONSE__INIT;
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    Etcdserverpb__ResponseHeader header = *place->header;
    leader.name = place->name;
    leader.key = place->key;
    leader.rev = place->revision;
    leader.lease = place->lease;
    response.header = &header;
    response.leader = &leader;
    rpc_reply(c, OK, &response.base);
}

static const struct line_kind campaign = {
    .updates_value = true,
    .is_answered_as_of_joining = true,
    .lost = NOT_LEADER,
    .on_turn = rpc_election_service_on_turn,
};

void rpc_campaign_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    const V3electionpb__CampaignRequest *request = (const V3electionpb__CampaignRequest *)m;
    line_join(c, &campaign, slice_of(request->name.data, request->name.len), request->lease,
              slice_of(request->value.data, request->value.len));
}

void rpc_campaign_writable(struct rpc_call *c)
{
    line_writable(c);
}

void rpc_campaign_cancel(struct rpc_call *c)
{
    line_leave(c);
}

/* --- by the leader ------------------------------------------------------------------------------------ */

/* The call's own request, answered by `done` as one message. */
static struct kv_request *request_of(struct rpc_call *c,
                                     void (*done)(struct kv_request *r, int err, const ProtobufCMessage *m))
{
    struct kv_request *r = rpc_store_request(c);
    r->done = done;
    r->on_part = NULL;
    r->answer = NULL;
    return r;
}

/* True: the call has failed. */
static bool has_failed(struct rpc_call *c, int err)
{
    c->is_waiting = false;
    if (err)
        rpc_recipe_fail(c, err);
    return err != OK;
}

/* A transaction that succeeds only while the leader's key is the one it was elected with. */
static struct txn *txn_of_leader(struct rpc_call *c, const V3electionpb__LeaderKey *leader)
{
    struct txn *t = arena_alloc(&c->arena, sizeof *t);
    txn_init(t, &c->arena);
    txn_if_created(t, slice_of(leader->key.data, leader->key.len), leader->rev);
    return t;
}

static void proclaim_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    const Etcdserverpb__TxnResponse *stored = (const Etcdserverpb__TxnResponse *)m;
    if (has_failed(c, err))
        return;
    if (!stored->succeeded) {
        rpc_recipe_refuse(c, NOT_LEADER);
        return;
    }
    V3electionpb__ProclaimResponse response = V3ELECTIONPB__PROCLAIM_RESPONSE__INIT;
    response.header = stored->header;
    rpc_reply(c, OK, &response.base);
}

static void proclaim(struct rpc_call *c, const V3electionpb__ProclaimRequest *request, int64_t lease)
{
    const V3electionpb__LeaderKey *leader = request->leader;
    struct txn *t = txn_of_leader(c, leader);
    txn_put(t, slice_of(leader->key.data, leader->key.len), slice_of(request->value.data, request->value.len),
            lease);
    kv_txn(c->server->kv, request_of(c, proclaim_done), &t->message);
}

static void proclaim_granted(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    if (!has_failed(c, err))
        proclaim(c, c->state, ((const Etcdserverpb__LeaseGrantResponse *)m)->id);
}

/* Without a lease the key gets a new one, which nobody keeps alive. */
void rpc_proclaim(struct rpc_call *c, const ProtobufCMessage *m)
{
    const V3electionpb__ProclaimRequest *request = (const V3electionpb__ProclaimRequest *)m;
    if (!request->leader) {
        rpc_recipe_refuse(c, NO_LEADER_FIELD);
        return;
    }
    if (request->leader->lease) {
        proclaim(c, request, request->leader->lease);
        return;
    }
    Etcdserverpb__LeaseGrantRequest *grant = arena_alloc(&c->arena, sizeof *grant);
    etcdserverpb__lease_grant_request__init(grant);
    grant->ttl = LEASE_TTL_S;
    c->state = (void *)(uintptr_t)request;
    kv_lease_grant(c->server->kv, request_of(c, proclaim_granted), grant);
}

static void resign_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    if (has_failed(c, err))
        return;
    V3electionpb__ResignResponse response = V3ELECTIONPB__RESIGN_RESPONSE__INIT;
    response.header = ((const Etcdserverpb__TxnResponse *)m)->header;
    rpc_reply(c, OK, &response.base);
}

void rpc_resign(struct rpc_call *c, const ProtobufCMessage *m)
{
    const V3electionpb__LeaderKey *leader = ((const V3electionpb__ResignRequest *)m)->leader;
    if (!leader) {
        rpc_recipe_refuse(c, NO_LEADER_FIELD);
        return;
    }
    struct txn *t = txn_of_leader(c, leader);
    txn_delete(t, slice_of(leader->key.data, leader->key.len));
    kv_txn(c->server->kv, request_of(c, resign_done), &t->message);
}

/* --- by anybody --------------------------------------------------------------------------------------- */

static void leader_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    const Etcdserverpb__RangeResponse *range = (const Etcdserverpb__RangeResponse *)m;
    if (has_failed(c, err))
        return;
    if (!range->n_kvs) {
        rpc_recipe_refuse(c, "election: no leader");
        return;
    }
    V3electionpb__LeaderResponse response = V3ELECTIONPB__LEADER_RESPONSE__INIT;
    response.header = range->header;
    response.kv = range->kvs[0];
    rpc_reply(c, OK, &response.base);
}

void rpc_election_leader(struct rpc_call *c, const ProtobufCMessage *m)
{
    Etcdserverpb__RangeRequest *range = arena_alloc(&c->arena, sizeof *range);
    ProtobufCBinaryData name = ((const V3electionpb__LeaderRequest *)m)->name;
    election_range(&c->arena, slice_of(name.data, name.len), range);
    kv_range(c->server->kv, request_of(c, leader_done), range);
}
