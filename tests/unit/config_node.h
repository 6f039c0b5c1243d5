/* SPDX-License-Identifier: Apache-2.0
 * A config center on a store of one member, for tests of it and of the code above it. */
#ifndef TESTS_UNIT_CONFIG_NODE_H
#define TESTS_UNIT_CONFIG_NODE_H

#include "config/config.h"
#include "tests/unit/one_node.h"

struct config_node {
    struct one_node node;
    struct config *config;   /* NULL: closed; the node continues */
    void (*turn)(void *arg); /* after config_turn; may be NULL */
    void *arg;
};

/* Zero it before; defaults replace unset options. NULL = no limits. It is ready when this function returns.
 */
void config_node_open(struct config_node *n, const struct config_options *options);
void config_node_close(struct config_node *n); /* removes the folder too */

/* A request and its result; everything that the result points to is copied (content: into text). */
struct config_reply {
    struct config_request request;
    bool is_done;
    int err;
    struct config_result result;
    struct config_release release; /* of a read; without content */
    struct config_head head;
    bool has_head;
    char error[400], text[4096], title[64], note[64], culprit[64];
};
struct config_reply config_reply(void);
void config_node_wait(struct config_node *n, struct config_reply *a);
int64_t config_node_settle(struct config_node *n);

/* "name", "group/name" or "ns/group/name". */
struct config_id config_id_of(const char *name);
/* Each starts a request, waits and returns its result. */
struct config_reply config_node_publish(struct config_node *n, const char *name, const char *content);
struct config_reply config_node_publish_with(struct config_node *n, const struct config_publish *p);
struct config_reply config_node_read(struct config_node *n, const char *name, uint64_t seq);
struct config_reply config_node_delete(struct config_node *n, const char *name);
struct config_reply config_node_rollback(struct config_node *n, const char *name, uint64_t seq);
/* rule: the rule as a client sends it; its content too. */
struct config_reply config_node_gray(struct config_node *n, const char *name, const char *rule,
                                     const char *text);
/* A direct write to the store, without the config center; waits. Value NULL deletes. */
void config_node_put_raw(struct config_node *n, enum config_key kind, const char *name, uint64_t seq,
                         const char *value);
/* The number of keys of a kind that an item has. */
size_t config_node_keys(struct config_node *n, enum config_key kind, const char *name);
const struct config_item *config_node_find(struct config_node *n, const char *name);

#endif
