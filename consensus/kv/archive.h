/* SPDX-License-Identifier: Apache-2.0
 * The link to a continuous backup (kv_on_entry and what follows it in kv.h). */
#ifndef CONSENSUS_KV_ARCHIVE_H
#define CONSENSUS_KV_ARCHIVE_H

#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_archive {
    void (*fn)(void *arg, const struct kv_applied *entry); /* NULL = nobody */
    void *arg;
    char notice[256]; /* empty = none */
    void (*note_fn)(void *arg, struct buf *out);
    void *note_arg;
    bool has_note;
    struct buf note;     /* the last one, after note_fn has gone */
    uint64_t kept_index; /* 0 = no entry is kept */
    void (*read_fn)(void *arg, int err, const struct kv_applied *list, size_t count);
    void *read_arg;
};

void kv_archive_listen(struct kv *kv); /* to a store that was opened or installed */
void kv_archive_done(struct kv_archive *a);
/* The log may be cut up to durable_index, but for what a backup needs. */
uint64_t kv_archive_log_needed(const struct kv *kv, uint64_t durable_index);

/* After store_end. is_kept: the entry was applied without an error, and its bytes can be applied again. */
void kv_archive_entry(struct kv *kv, const struct raft_entry *entry, bool is_kept);
const char *kv_archive_notice(const struct kv *kv); /* or "" */

#endif
