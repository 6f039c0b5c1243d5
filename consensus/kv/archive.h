/* SPDX-License-Identifier: Apache-2.0
 * The link to a continuous backup (kv_on_entry, kv_set_notice of kv.h). */
#ifndef CONSENSUS_KV_ARCHIVE_H
#define CONSENSUS_KV_ARCHIVE_H

#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_archive {
    void (*fn)(void *arg, const struct kv_applied *entry); /* NULL = nobody */
    void *arg;
    char notice[256]; /* empty = none */
};

/* After store_end. is_kept: the entry was applied without an error, and its bytes can be applied again. */
void kv_archive_entry(struct kv *kv, const struct raft_entry *entry, bool is_kept);
const char *kv_archive_notice(const struct kv *kv); /* or "" */

#endif
