/* SPDX-License-Identifier: Apache-2.0
 * One query to one member, on a connection of its own, with a short timeout. */
#ifndef TESTS_CHAOS_ASK_H
#define TESTS_CHAOS_ASK_H

#include "tests/chaos/client.h"

/* False: no response in time, or an error; text says which. The caller frees the response. */
bool ask(const struct endpoint *endpoint, const char *path, const ProtobufCMessage *m, struct buf *ret_answer,
         char text[160]);

struct member_status {
    uint64_t member_id, leader, term, index, applied;
    int64_t revision;
    bool is_learner;
};
bool ask_status(const struct endpoint *endpoint, struct member_status *ret_status);

#endif
