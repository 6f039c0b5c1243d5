/* SPDX-License-Identifier: Apache-2.0
 * Member and cluster ids from URLs and token; see identity.h. */
#include "consensus/node/identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t identity_member_id(const char *const *peer_urls, size_t count, const char *cluster_token)
{
    const char **sorted = mem_copy(peer_urls, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_text);
    struct buf joined = {0};
    for (size_t i = 0; i < count; i++)
        buf_add_text(&joined, sorted[i]);
    buf_add_text(&joined, cluster_token);
    uint8_t digest[20];
    sha1(joined.data, joined.size, digest);
    buf_done(&joined);
    mem_free(sorted);
    return get_be64(digest);
}

uint64_t identity_cluster_id(uint64_t *member_ids, size_t count)
{
    qsort(member_ids, count, sizeof *member_ids, compare_id);
    struct buf joined = {0};
    for (size_t i = 0; i < count; i++)
        put_be64(buf_reserve(&joined, 8), member_ids[i]), joined.size += 8;
    uint8_t digest[20];
    sha1(joined.data, joined.size, digest);
    buf_done(&joined);
    return get_be64(digest);
}
