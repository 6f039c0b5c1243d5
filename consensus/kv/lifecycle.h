/* SPDX-License-Identifier: Apache-2.0
 * Opening, failing and closing of one member (open.c). */
#ifndef CONSENSUS_KV_LIFECYCLE_H
#define CONSENSUS_KV_LIFECYCLE_H

#include "consensus/kv.h"

struct kv_lifecycle {
    struct io_file *lock; /* the folder is ours while it is open */
    bool is_closing;
    int failed_err; /* OK, or why the process must end */
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* True from kv_close on: nothing new begins, callbacks of workers and of the transport do nothing. */
bool kv_is_closing(const struct kv *kv);
/* Reports a final error: kv_failed returns it from now on. The first one need not stay. */
void kv_set_failed(struct kv *kv, int err);
/* The last error of kv_set_failed; OK = none. kv_failed looks at the store, too. */
int kv_failure(const struct kv *kv);

/* One lease as the store keeps it, into the lease table that arg is. Always true (go on). */
bool kv_restore_lease(void *arg, struct slice key, struct slice value);
/* Binds the callbacks of a store that was just opened or installed. */
void kv_listen_to_store(struct kv *kv);

#endif
