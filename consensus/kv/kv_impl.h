/* SPDX-License-Identifier: Apache-2.0
 * One member of the key-value store, as composed of its parts. Private to consensus/kv/.
 *
 * Each part is a struct with a header of its own, and its own .c file alone touches its fields
 * (tests/lint/kv_parts.awk). The fields before the parts are common to all of them. README.md explains the
 * parts. */
#ifndef CONSENSUS_KV_KV_IMPL_H
#define CONSENSUS_KV_KV_IMPL_H

#include "consensus/kv/admin.h"
#include "consensus/kv/apply.h"
#include "consensus/kv/archive.h"
#include "consensus/kv/auth.h"
#include "consensus/kv/bootstrap.h"
#include "consensus/kv/defrag.h"
#include "consensus/kv/dropped_proposals.h"
#include "consensus/kv/exports.h"
#include "consensus/kv/feature_level.h"
#include "consensus/kv/hand_over.h"
#include "consensus/kv/leader_calls.h"
#include "consensus/kv/leadership.h"
#include "consensus/kv/lease_rights.h"
#include "consensus/kv/lease_scan.h"
#include "consensus/kv/lifecycle.h"
#include "consensus/kv/member_rpc.h"
#include "consensus/kv/membership.h"
#include "consensus/kv/peer_events.h"
#include "consensus/kv/peer_listing.h"
#include "consensus/kv/read_index.h"
#include "consensus/kv/requests.h"
#include "consensus/kv/scan.h"
#include "consensus/kv/settings.h"
#include "consensus/kv/sliced_apply.h"
#include "consensus/kv/snapshot_transfer.h"
#include "consensus/kv/state_check.h"
#include "consensus/kv/timings.h"
#include "consensus/kv/turn.h"
#include "consensus/kv/writes.h"
#include "consensus/node/alarms.h"
#include "consensus/node/members.h"
#include "consensus/store/lease.h"
#include "consensus/store/store.h"

struct kv {
    struct io *io;
    uint64_t member_id, cluster_id;
    struct kv_settings settings;
    struct node *node;       /* raft and the log */
    struct node_state state; /* what raft reported last */
    struct store *store;
    struct lease_table *leases;
    struct watch_hub *hub;
    struct peers *peers; /* NULL = alone */
    struct members members;
    struct alarms alarms;
    struct arena arena; /* of the entry or read under way */

    struct kv_lifecycle lifecycle;
    struct kv_turn_state turn;
    struct kv_timings timings;
    struct kv_requests requests;
    struct kv_writes writes;
    struct kv_loss_tracker dropped_proposals;
    struct kv_sliced_apply sliced_apply;
    struct kv_read_index read_index;
    struct kv_scans scans;
    struct kv_leader_calls leader_calls;
    struct kv_leadership leadership;
    struct kv_hand_over_state hand_over;
    struct kv_auth auth;
    struct kv_lease_rights lease_rights;
    struct kv_feature_level feature_level;
    struct kv_state_check state_check;
    struct kv_defrag defrag;
    struct kv_exports exports;
    struct kv_snapshot_transfer snapshot_transfer;
    struct kv_membership membership;
    struct kv_member_rpcs member_rpcs;
    struct kv_peer_events peer_events;
    struct kv_bootstrap bootstrap;
    struct kv_peer_listing peer_listing;
    struct kv_archive archive;
    struct kv_admin admin;
};

#endif
