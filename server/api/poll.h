/* SPDX-License-Identifier: Apache-2.0
 * One long poll for many configurations: POST /api/v1/polls. Private to server/api. */
#ifndef SERVER_API_POLL_H
#define SERVER_API_POLL_H

#include "server/api/call.h"

enum {
    API_POLL_NAMES_MAX = 1000,          /* of one poll */
    API_POLLED_MAX = 10 * 1000 * 1000,  /* places of names in all polls of a member: 40 bytes each */
    API_POLLED_NAMES_MAX = 1000 * 1000, /* different names in all polls of a member */
};

struct api_polled;

/* Answers polls whose configurations have changed, and refuses those that have lost their rights, as many as the
 * turn has time for. True: there are more. */
bool api_polled_turn(struct api *a);
size_t api_polled_waiting(const struct api *a); /* polls that wait for a change */
void api_polled_free(struct api_polled *p);     /* NULL is fine */

#endif
