/* SPDX-License-Identifier: Apache-2.0
 * Long calls in slices: a call that would take longer than a turn of the loop should continues in the next
 * turn. All long calls of a member share one slice of time a turn, in the order of their api_slice_later.
 *
 *     static void step(struct api_call *c)
 *     {
 *         while (there is more to do) {
 *             if (http_is_congested(c->q))
 *                 return;                    // c->writable calls api_slice_later
 *             if (api_slice_is_over(c)) {
 *                 api_slice_later(c, step);  // after the other calls
 *                 return;
 *             }
 *             ...
 *         }
 *     }
 *
 * cancel removes the call (api_slice_never), as does the answer. */
#ifndef SERVER_API_SLICE_H
#define SERVER_API_SLICE_H

#include "server/api/call.h"

/* Calls step(c) from api_turn, in this turn or the next. A second call before that replaces the first. */
void api_slice_later(struct api_call *c, void (*step)(struct api_call *c));
void api_slice_never(struct api_call *c);
/* Within step: this turn's time is used up. */
bool api_slice_is_over(const struct api_call *c);

#endif
