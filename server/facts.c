/* SPDX-License-Identifier: Apache-2.0
 * Information metrics of a member; see facts.h. */
#include "server/facts.h"

#include <inttypes.h>
#include <string.h>

#include "base/metric.h"
#include "consensus/kv.h"
#include "server/version.h"

void facts_collect(void *kv, struct buf *out)
{
    metric_print_head(out, "etcd_server_version", "gauge",
                      "Which version is running. 1 for 'server_version' label.");
    buf_add_text(out, "etcd_server_version{server_version=\"" ETCD_VERSION "\"} 1\n");
    metric_print_head(out, "etcd_cluster_version", "gauge",
                      "Which version is running. 1 for 'cluster_version' label.");
    struct arena arena = {0};
    const char *cluster = kv_cluster_version(kv, &arena);
    buf_addf(out, "etcd_cluster_version{cluster_version=\"%.*s\"} 1\n",
             (int)(strrchr(cluster, '.') - cluster), cluster);
    arena_done(&arena);
    metric_print_head(out, "etcd_server_id", "gauge",
                      "Server or member ID in hexadecimal format. 1 for 'server_id' label.");
    buf_addf(out, "etcd_server_id{server_id=\"%" PRIx64 "\"} 1\n", kv_member_id(kv));
}
