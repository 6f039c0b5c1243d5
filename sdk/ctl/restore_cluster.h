/* SPDX-License-Identifier: Apache-2.0
 * The members of a new cluster, from --initial-cluster and --initial-advertise-peer-urls, read and checked as
 * etcdutl does. Pure. */
#ifndef SDK_CTL_RESTORE_CLUSTER_H
#define SDK_CTL_RESTORE_CLUSTER_H

#include "base/mem.h"
#include "consensus/etcd_db/etcd_db.h"

struct restore_cluster {
    struct etcd_db_member *list; /* one for each peer URL; in the arena */
    size_t count;
};

/* ERR_INVALID with etcdutl's text in error. */
MUST_CHECK int restore_cluster_read(struct arena *arena, const char *name, const char *cluster,
                                    const char *advertised, struct restore_cluster *ret_cluster, char *error,
                                    size_t error_size);

#endif
