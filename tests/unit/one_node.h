/* SPDX-License-Identifier: Apache-2.0
 * A store of one member on a real loop and a folder of its own, for tests of the code above kv.h. */
#ifndef TESTS_UNIT_ONE_NODE_H
#define TESTS_UNIT_ONE_NODE_H

#include <uv.h>

#include "consensus/kv.h"

struct one_node {
    char dir[64];
    uint64_t txn_ops_max;   /* 0 = 128 */
    int64_t quota_bytes;    /* 0 = 2 GiB */
    unsigned feature_level; /* 0 = this build's */
    uv_loop_t loop;
    struct io *io;
    struct kv *kv;
    uv_prepare_t prepare;
    uv_timer_t limit;
    bool is_ready, is_closed, is_late;
    void (*opened)(void *arg); /* right after kv_open; may be NULL */
    /* After kv_turn, in each turn; may be NULL. */
    void (*turn)(void *arg);
    void *arg;
};

void one_node_open(struct one_node *n); /* zero it before, except dir after a close: the same folder again */
void one_node_close(struct one_node *n);
void one_node_remove(struct one_node *n); /* closes it; the folder is removed */
/* Runs the loop until is_done returns true; fails the test after 10 s. */
void one_node_run(struct one_node *n, bool (*is_done)(void *arg), void *arg);
void one_node_run_ms(struct one_node *n, uint64_t ms);

/* Requests that wait for their end; each asserts OK and returns the revision after it. */
int64_t one_node_put(struct one_node *n, const char *key, const char *value, int64_t lease);
int64_t one_node_delete(struct one_node *n, const char *key, const char *range_end);
int64_t one_node_compact(struct one_node *n, int64_t revision);

#endif
