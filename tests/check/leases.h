/* SPDX-License-Identifier: Apache-2.0
 * The promises of leases, on the clients' monotonic clock: never early (counted from the moment the last
 * acknowledged grant or keepalive was sent), in time when the cluster is healthy, all keys in one revision,
 * and nothing after the end. A lease's id must not be granted twice in one history. */
#ifndef TESTS_CHECK_LEASES_H
#define TESTS_CHECK_LEASES_H

#include "tests/check/revisions.h"

void leases_check(const struct history *h, const struct revisions *r, const struct check_options *options,
                  struct check_report *report);

#endif
