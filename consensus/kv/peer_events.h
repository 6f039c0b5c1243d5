/* SPDX-License-Identifier: Apache-2.0
 * The transport to other members: its events, and which members it speaks to (peer_events.c). */
#ifndef CONSENSUS_KV_PEER_EVENTS_H
#define CONSENSUS_KV_PEER_EVENTS_H

#include "consensus/kv.h"

struct kv_peer_events {
    struct kv_leaving {
        uint64_t id, until_ms;
    } * leaving; /* removed members that are not disconnected yet; in the order of time */
    size_t leaving_count;
};

void kv_peer_events_done(struct kv_peer_events *e);
/* At the start: events, identity, members. */
void kv_peers_announce(struct kv *kv);
/* The list of members is a new one. */
void kv_peers_set(struct kv *kv);
/* The end of a turn: calls and replies leave, then the transport is flushed. */
void kv_peer_turn(struct kv *kv);
/* A member that was removed stays connected for a moment: it learns of it from its log. */
void kv_disconnect_later(struct kv *kv, uint64_t id);
void kv_disconnect_removed(struct kv *kv); /* at ticks */
/* True when the connection to the member stands since since_ms or longer; true for this member. */
bool kv_peer_is_active(const struct kv *kv, uint64_t id, uint64_t since_ms);

#endif
