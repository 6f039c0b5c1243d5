/* SPDX-License-Identifier: Apache-2.0
 * The SHA-256 of a snapshot file, computed by a thread while the file is restored: a restore reads and writes,
 * the digest takes CPU, so together they take the time of the longer one. Nothing that was restored is kept
 * before the digest is known. */
#ifndef SDK_CTL_DIGEST_THREAD_H
#define SDK_CTL_DIGEST_THREAD_H

#include <pthread.h>

#include "sdk/ctl/db_file.h"

struct ctl_digest_thread {
    struct ctl_db_file file; /* the same descriptor, with a reading position of its own */
    pthread_t thread;
    bool is_begun, is_thread; /* without a thread it is computed at the end */
    int err;
    uint8_t wanted[ETCD_DB_DIGEST_SIZE], digest[ETCD_DB_DIGEST_SIZE];
};

/* `file` stays open until ctl_digest_thread_end, and its size has a digest (etcd_db_has_digest). */
void ctl_digest_thread_begin(struct ctl_digest_thread *d, const struct ctl_db_file *file);
/* Waits for it. OK: the digest was read and computed, or was not begun (then both are zero). ERR_CANCELED, ERR_IO as
 * etcd_db_digests. May be called again. */
int ctl_digest_thread_end(struct ctl_digest_thread *d);

#endif
