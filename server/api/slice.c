/* SPDX-License-Identifier: Apache-2.0
 * Long calls in slices; see slice.h. The calls form a queue; a turn ends when its time is over or every call
 * has had one step. */
#include "server/api/slice.h"

#include "base/list.h"
#include "server/api/private.h"

uint64_t api_now_ns(const struct api *a)
{
    return a->options.mono_ns ? a->options.mono_ns() : a->options.mono_ms() * 1000000;
}

void api_slice_later(struct api_call *c, void (*step)(struct api_call *c))
{
    c->step = step;
    list_remove(&c->sliced);
    list_add_last(&c->api->sliced, &c->sliced);
}

void api_slice_never(struct api_call *c)
{
    list_remove(&c->sliced);
}

bool api_slice_is_over(const struct api_call *c)
{
    return api_now_ns(c->api) >= c->api->slice_end_ns;
}

bool api_slices_turn(struct api *a)
{
    struct link now;
    list_init(&now);
    if (list_is_empty(&a->sliced))
        return false;
    list_move_all(&now, &a->sliced);
    a->slice_end_ns = api_now_ns(a) + API_SLICE_NS;
    while (!list_is_empty(&now)) {
        struct api_call *c = container_of(list_take_first(&now), struct api_call, sliced);
        c->step(c);
        if (api_now_ns(a) >= a->slice_end_ns)
            break;
    }
    /* The calls that have had no turn come first in the next one. */
    list_move_all(&now, &a->sliced);
    list_move_all(&a->sliced, &now);
    return !list_is_empty(&a->sliced);
}
