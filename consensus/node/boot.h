/* SPDX-License-Identifier: Apache-2.0
 * How a member starts: with what its folder holds, or by beginning a cluster, or by joining one. Asks the
 * other members over the peer port until the rules (boot_rules.h) decide; a member that asks also answers.
 *
 * Not here: what a running member answers (consensus/kv/bootstrap.c), and making anything: kv_open does that. */
#ifndef CONSENSUS_NODE_BOOT_H
#define CONSENSUS_NODE_BOOT_H

#include "consensus/kv.h"
#include "proto/peer.pb-c.h"

struct boot;

/* All borrowed until done or boot_cancel. */
struct boot_options {
    struct io *io;
    struct peers *peers;            /* questions go both ways; NULL only for a cluster of one */
    const char *data_dir, *wal_dir; /* wal_dir NULL = inside data_dir */
    const char *name, *initial_cluster_token;
    const struct kv_member_option *initial_cluster; /* one per peer URL; has this member */
    size_t initial_cluster_count;
    const char *const *peer_urls; /* advertised */
    size_t peer_url_count;
    bool is_existing;         /* --initial-cluster-state */
    bool is_auto;             /* it begins, or joins, as it finds the others */
    bool requires_peer_proof; /* answers only processes that show a token or a certificate */
    unsigned feature_level;   /* as of kv_options */
    bool auto_join;           /* may ask a running cluster to take it in, or to replace what it lost */
};

/* What kv_open is to be given; valid during done. */
struct boot_result {
    const struct kv_join *join; /* NULL: go on with the folder, or begin the cluster of the flags */
};

/* There is a log: the member goes on with it, whatever the flags say. */
bool boot_has_data(const struct boot_options *options);
/* done comes once, later, and the boot is gone then: OK, or ERR_INVALID with a sentence, when waiting would
 * not help. Whoever sets the peers' events from then on answers questions. */
struct boot *boot_start(const struct boot_options *options,
                        void (*done)(void *arg, int err, const char *error, const struct boot_result *result),
                        void *arg);
void boot_cancel(struct boot *b); /* done will not come */

/* --- messages, for both sides ------------------------------------------------------------------------- */
enum { BOOT_MESSAGE_MAX = 256 << 10 };
/* NULL: not a message. Freed with peerpb__..._free_unpacked. */
Peerpb__Question *boot_read_query(struct slice text);
Peerpb__Answer *boot_read_answer(struct slice text);
void boot_write(struct buf *out, const ProtobufCMessage *message);

#endif
