/* SPDX-License-Identifier: Apache-2.0
 * Conversion between the recorded history (tests/check/history.h) and messages on the wire. */
#ifndef TESTS_CHAOS_CONVERT_H
#define TESTS_CHAOS_CONVERT_H

#include "tests/chaos/client.h"
#include "tests/check/history.h"

/* Not for keepalives, which have a stream of their own. */
void convert_start(struct connection *c, struct call *call, const struct history_request *q);
/* False: the message cannot be decoded. The reply lives in the arena. */
bool convert_reply(const struct history_request *q, struct slice message, struct arena *a,
                   struct history_reply *ret_reply);
bool convert_watch_response(struct slice message, struct arena *a, struct history_response *ret_response);
/* The outcome in the history of a call that failed with a status. */
enum history_outcome convert_failure(int status);

#endif
