/* SPDX-License-Identifier: Apache-2.0
 * Three members on virtual time with a module above each store (the registry or the config center). */
#ifndef TESTS_UNIT_TRIO_H
#define TESTS_UNIT_TRIO_H

#include "tests/unit/cluster_world.h"

enum { TRIO = 3 };

struct trio_kind {
    void *(*open)(struct kv *kv, const char *member);
    void (*close)(void *module);
    void (*turn)(void *module);
    bool (*is_ready)(const void *module);
};

struct trio {
    const struct trio_kind *kind;
    struct world *world;
    void *modules[TRIO]; /* NULL: closed */
};

struct trio *trio_new(const struct trio_kind *kind); /* when it returns all are ready */
void trio_free(struct trio *t);
void trio_open(struct trio *t, unsigned i); /* again */
void trio_close(struct trio *t, unsigned i);
bool trio_is_ready(const struct trio *t); /* those that are open */
unsigned trio_index(const struct trio *t, const struct machine *m);
void trio_wait(struct trio *t, const bool *is_done); /* fails the test after a minute of the world's time */

#endif
