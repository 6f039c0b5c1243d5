/* SPDX-License-Identifier: Apache-2.0
 * Member and cluster ids, derived as in etcd. Pure. Members that bootstrap from the same flags agree without
 * communication. Tools show the ids that users know (8e9e05c52164694d for the defaults). */
#ifndef CONSENSUS_NODE_IDENTITY_H
#define CONSENSUS_NODE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

/* First 8 bytes of SHA-1 over the sorted peer URLs, joined, then the cluster token. Does not change the
 * array. */
uint64_t identity_member_id(const char *const *peer_urls, size_t count, const char *cluster_token);
/* First 8 bytes of SHA-1 over the member ids in ascending order, 8 bytes big-endian each. Sorts the array. */
uint64_t identity_cluster_id(uint64_t *member_ids, size_t count);

#endif
