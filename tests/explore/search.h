/* SPDX-License-Identifier: Apache-2.0
 * Searches through the states of a scope: all states breadth first, so that the first violation is also a
 * shortest one, or random walks, which are far deeper. */
#ifndef TESTS_EXPLORE_SEARCH_H
#define TESTS_EXPLORE_SEARCH_H

#include "tests/explore/world.h"

enum { EXPLORE_PATH = 400 };

struct path {
    struct action action[EXPLORE_PATH];
    uint32_t count;
};

struct search_limits {
    uint64_t states;     /* kept at most, 24 bytes each */
    double seconds;      /* 0 = no limit */
    uint32_t heal_every; /* one state of this many is tested for progress after healing; 0 = none */
};

struct search_result {
    uint64_t states, steps, healed;
    uint32_t depth; /* complete up to it */
    bool exhausted; /* the budgets, not a limit, ended it */
    bool broken;
    char rule[48], detail[160];
    struct path path; /* to the violation, without unneeded actions */
};

void search_all(const struct scope *scope, const struct search_limits *limits,
                struct search_result *ret_result);
/* Walks of `depth` random actions each. */
void search_random(const struct scope *scope, const struct search_limits *limits, uint64_t seed,
                   uint64_t walks, struct search_result *ret_result);

/* The path as a file for the scenario runner. */
void story_print(const struct scope *scope, const struct path *path, struct buf *out);

#endif
