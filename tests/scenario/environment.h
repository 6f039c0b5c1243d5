/* SPDX-License-Identifier: Apache-2.0
 * The cluster of an interaction scenario, shared by the files that carry out its commands. */
#ifndef TESTS_SCENARIO_ENVIRONMENT_H
#define TESTS_SCENARIO_ENVIRONMENT_H

#include "tests/scenario/interaction.h"
#include "tests/scenario/render.h"
#include "tests/scenario/storage.h"

#define NODES_MAX 16

struct queue { /* messages that own what they point to */
    struct raft_message *items;
    size_t count, capacity;
};

struct node {
    struct raft *raft;
    struct raft_config config;
    struct storage storage;
    struct raft_snapshot
        state; /* the state machine: all payloads one after the other, and the configuration */
    struct queue append_work, apply_work;
};

struct interaction {
    struct node node[NODES_MAX];
    size_t node_count;
    struct queue network;
    struct buf *out; /* of the command, or of the current indented part */
    int level;       /* LEVEL_NONE: only errors are printed */
    struct buf error;
};

enum { LEVEL_NONE = 5 };

bool env_quiet(const struct interaction *env);
void env_say(struct interaction *env, const char *format, ...) __attribute__((format(printf, 2, 3)));
void env_say_buf(struct interaction *env, struct buf *text); /* takes text */
void env_fail(struct interaction *env, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool env_failed(const struct interaction *env);
/* Output between begin and end is indented by two spaces. */
struct buf *env_indent(struct interaction *env, struct buf *inner);
void env_dedent(struct interaction *env, struct buf *outer);

void queue_add(struct queue *q, const struct raft_message *m);
struct raft_message queue_take(struct queue *q, size_t at);
void queue_done(struct queue *q);

/* cluster.c: one step of the host's work. False when there was no work or it failed. */
void cluster_add(struct interaction *env, const struct raft_config *config,
                 const struct raft_snapshot *snapshot);
void cluster_restart(struct interaction *env, struct node *n);
void cluster_ready(struct interaction *env, struct node *n);
void cluster_append(struct interaction *env, struct node *n);
void cluster_apply(struct interaction *env, struct node *n);
size_t cluster_deliver(struct interaction *env, uint64_t to, int type, bool drop);
void cluster_deliver_one(struct interaction *env, size_t at, bool keep, bool drop);
void cluster_settle(struct interaction *env, struct node *n, bool append, bool apply);
bool cluster_has_messages(const struct interaction *env, uint64_t to);
void cluster_stabilize(struct interaction *env, struct node *const *nodes, size_t count);
void cluster_report(struct interaction *env, int err);
void cluster_print_log(struct interaction *env, const struct node *n);

#endif
