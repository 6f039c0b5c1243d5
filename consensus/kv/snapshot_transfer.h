/* SPDX-License-Identifier: Apache-2.0
 * Snapshots between members: sending, receiving, installing (snapshot_transfer.c). */
#ifndef CONSENSUS_KV_SNAPSHOT_TRANSFER_H
#define CONSENSUS_KV_SNAPSHOT_TRANSFER_H

#include "consensus/kv.h"
#include "consensus/node/snapshot_install.h"
#include "consensus/raft/message.h"

struct kv_snapshot_transfer {
    struct snapshot_send *sending;           /* NULL = alone */
    struct snapshot_receive *receiving;      /* NULL = alone */
    struct snapshot_install *installing;     /* NULL = none */
    struct raft_conf_state conf;             /* what the new store must hold */
    struct snapshot_install_options install; /* how the store's file is opened */
};

/* Before the store is opened: finishes what a crash interrupted. */
int kv_snapshot_recover(struct kv *kv, const struct kv_options *o, uint64_t map_size, const char *wal_dir,
                        char *error, size_t error_size);
/* How a store that is installed is opened: as the one that was opened at the start. */
void kv_snapshot_set_store(struct kv *kv, const struct store_options *options);
void kv_snapshot_open(struct kv *kv, const struct kv_options *o);
void kv_snapshot_close(struct kv *kv);
bool kv_is_installing(const struct kv *kv);
void kv_send_snapshot(void *arg, const struct raft_message *m);   /* node_options.send_snapshot */
void kv_install(void *arg, const struct raft_snapshot *snapshot); /* node_options.install */
/* The index up to which the log can be cut: less than what is durable while a transfer needs it. */
uint64_t kv_log_needed(const struct kv *kv, uint64_t durable_index);
void kv_on_snapshot_message(struct kv *kv, uint64_t from, struct slice bytes); /* after CODEC_SNAPSHOT */
void kv_snapshot_stop_sending(struct kv *kv);                                  /* this member leads no more */
void kv_snapshot_on_reachable(struct kv *kv, uint64_t id); /* its bulk connection stands again */
void kv_snapshot_forget(struct kv *kv, uint64_t id);       /* it is no member any more */

#endif
