/* SPDX-License-Identifier: Apache-2.0
 * Long calls in slices: what takes longer than a turn of the loop should, goes on in the next turn. All long
 * calls of a member share one slice of time a turn, in the order in which they asked for it.
 *
 *     static void step(struct api_call *c)
 *     {
 *         while (there is more to do) {
 *             if (http_is_congested(c->q))
 *                 return;                    // c->writable calls api_slice_later
 *             if (api_slice_is_over(c))
 *                 api_slice_later(c, step);  // behind the others
 *             ...
 *         }
 *     }
 *
 * cancel takes the call out (api_slice_never), as does the answer. */
#ifndef SERVER_API_SLICE_H
#define SERVER_API_SLICE_H

#include "server/api/call.h"

/* step(c) is called from api_turn, in this turn or the next. Once more is the same as once. */
void api_slice_later(struct api_call *c, void (*step)(struct api_call *c));
void api_slice_never(struct api_call *c);
/* Within step: the time of this turn is used up. */
bool api_slice_is_over(const struct api_call *c);

#endif
