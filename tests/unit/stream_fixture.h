/* SPDX-License-Identifier: Apache-2.0
 * Setup and teardown of tests that have one stream world: `world`, anew for each test, without marks and without users.
 * A file that needs other options sets up its own world and includes stream_world.h alone. */
#ifndef TESTS_UNIT_STREAM_FIXTURE_H
#define TESTS_UNIT_STREAM_FIXTURE_H

#include "tests/unit/stream_world.h"

static struct stream_world world;

static int open_world(void **state)
{
    (void)state;
    struct stream_options options = {.mark_ms = 3600 * 1000};
    memset(&world, 0, sizeof world);
    stream_world_open(&world, &options, NULL);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

#endif
