/* SPDX-License-Identifier: Apache-2.0
 * Start of a member: with the data of its folder, by beginning a cluster, or by joining one. It queries the
 * other members over the peer port until the rules (boot_rules.h) decide. Meanwhile it answers their queries,
 * too.
 *
 * Not here: the answers of a running member (consensus/kv/bootstrap.c). The files are made by kv_open, not
 * here. */
#ifndef CONSENSUS_NODE_BOOT_H
#define CONSENSUS_NODE_BOOT_H

#include "consensus/kv.h"
#include "consensus/node/boot_message.h"

struct boot;

/* All borrowed until done or boot_cancel. */
struct boot_options {
    struct io *io;
    struct peers *peers;            /* queries go both ways; NULL only for a cluster of one */
    const char *data_dir, *wal_dir; /* wal_dir NULL = inside data_dir */
    const char *name, *initial_cluster_token;
    const struct kv_member_option *initial_cluster; /* one per peer URL; has this member */
    size_t initial_cluster_count;
    const char *const *peer_urls; /* advertised */
    size_t peer_url_count;
    bool is_existing;         /* --initial-cluster-state */
    bool is_auto;             /* auto: it begins a cluster or joins one, as it finds the others */
    bool requires_peer_proof; /* answers only processes that show a token or a certificate */
    unsigned feature_level;   /* as of kv_options */
    bool auto_join;           /* may request ADD or REPLACE from a running cluster */
};

/* Argument for kv_open; valid during done. */
struct boot_result {
    const struct kv_join *join; /* NULL: go on with the folder, or begin the cluster of the flags */
};

/* True when there is a log: the member continues it, whatever the flags say. */
bool boot_has_data(const struct boot_options *options);
/* done comes once, later, and frees the boot: OK, or ERR_INVALID with a sentence in error when waiting would
 * not help, or the error of a write to data_dir. From then on the owner of the peers' events answers
 * queries. */
struct boot *boot_start(const struct boot_options *options,
                        void (*done)(void *arg, int err, const char *error, const struct boot_result *result),
                        void *arg);
void boot_cancel(struct boot *b); /* done does not come */

#endif
