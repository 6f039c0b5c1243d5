/* SPDX-License-Identifier: Apache-2.0
 * Mutations of a correct history. Each changes a record of a fake store into one that no correct store could
 * have made. */
#ifndef TESTS_UNIT_CHECK_MUTATE_H
#define TESTS_UNIT_CHECK_MUTATE_H

#include "check_fake.h"

struct mutation {
    const char *name;
    bool (*apply)(struct fake *f); /* false: this history has nothing to change in this way */
};

extern const struct mutation mutations[];
extern const size_t mutation_count;

#endif
