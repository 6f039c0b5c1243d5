/* SPDX-License-Identifier: Apache-2.0
 * The registry as the module of a trio: a test gives the function that opens it. */
#ifndef TESTS_UNIT_REGISTRY_TRIO_H
#define TESTS_UNIT_REGISTRY_TRIO_H

#include "registry/registry.h"
#include "tests/unit/trio.h"
#include "tests/unit/unit.h"

HELPER static void registry_trio_close(void *module)
{
    registry_free(module);
}

HELPER static void registry_trio_turn(void *module)
{
    registry_turn(module);
}

HELPER static bool registry_trio_is_ready(const void *module)
{
    return registry_is_ready(module);
}

#endif
