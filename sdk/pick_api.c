/* SPDX-License-Identifier: Apache-2.0
 * cairn_pick: the choice of pick.h on the instances of a discovery. It uses no client: any thread. */
#include <stdlib.h>

#include "base/clock.h"

#include "sdk/pick.h"
#include "sdk/private.h"

struct pick_entry {
    struct pick_candidate candidate;
    size_t index;
};

static int pick_compare(const void *a, const void *b)
{
    return strcmp(((const struct pick_entry *)a)->candidate.id, ((const struct pick_entry *)b)->candidate.id);
}

static bool is_skipped(const struct cairn_pick_request *q, const char *id)
{
    for (size_t i = 0; i < q->skip_count; i++)
        if (strcmp(q->skip[i], id) == 0)
            return true;
    return false;
}

static long pick_on(const struct cairn_instances *now, const struct cairn_pick_request *q)
{
    struct pick_entry *entries = mem_alloc((now->count + 1) * sizeof *entries);
    struct pick_candidate *list = mem_alloc((now->count + 1) * sizeof *list);
    struct pick_query p = {.zone = q->zone ? q->zone : "",
                           .region = q->region ? q->region : "",
                           .key = q->key,
                           .warm_up_ms = q->warm_up_ms,
                           .draw_tier = (uint32_t)random_u64(),
                           .draw = random_u64() >> 11};
    for (size_t i = 0; i < now->count; i++) {
        const struct cairn_instance *it = &now->list[i];
        bool is_serving = it->is_serving && it->weight > 0 && !is_skipped(q, it->id);
        entries[i].index = i;
        entries[i].candidate = (struct pick_candidate){.id = it->id,
                                                       .zone = it->zone,
                                                       .region = it->region,
                                                       .weight = it->weight > 0 ? (uint32_t)it->weight : 0,
                                                       .is_serving = is_serving,
                                                       .age_ms = now->ages_ms ? now->ages_ms[i] : UINT64_MAX};
    }
    qsort(entries, now->count, sizeof *entries, pick_compare);
    for (size_t i = 0; i < now->count; i++)
        list[i] = entries[i].candidate;
    long at = pick_choose(list, now->count, &p);
    if (at >= 0)
        at = (long)entries[at].index;
    mem_free(entries);
    mem_free(list);
    return at;
}

int cairn_pick(const struct cairn_instances *now, const struct cairn_pick_request *request, size_t *ret_index,
               struct cairn_error *error)
{
    struct cairn_pick_request q = {0};
    if (request && (!request->size || request->size > 4096))
        return set_error(error, CAIRN_INVALID, "request.size is not sizeof(struct cairn_pick_request)");
    if (request)
        memcpy(&q, request, request->size < sizeof q ? request->size : sizeof q);
    if (q.warm_up_ms > PICK_WARM_UP_MAX_MS)
        return set_error(error, CAIRN_INVALID, "warm_up_ms is %u; it is at most %d", q.warm_up_ms,
                         (int)PICK_WARM_UP_MAX_MS);
    long at = pick_on(now, &q);
    if (at < 0)
        return set_error(error, CAIRN_NOT_FOUND, "none of %zu instances may receive traffic", now->count);
    *ret_index = (size_t)at;
    return CAIRN_OK;
}
