/* SPDX-License-Identifier: Apache-2.0
 * Discovery of the members of a new cluster: --discovery-srv (DNS) and --discovery-token with
 * --discovery-endpoints (keys of another etcd or Cairn cluster). It replaces --initial-cluster before the
 * bootstrap; a member that has data does not discover.
 *
 *   SRV records   _etcd-server-ssl._tcp.DOMAIN (https) and _etcd-server._tcp.DOMAIN (http). The record whose
 *                 address is that of an advertised peer URL is this member. Other members do not learn their
 *                 names from DNS, and all must begin from the same list: each record has its place among the
 *                 sorted URLs as its name ("0", "1"), until the member publishes its own.
 *   service       /_etcd/registry/TOKEN/_config/size says how many members the cluster has. Each member puts
 *                 name=URL under .../members/ID, and goes on when so many are there: the first ones by
 *                 creation revision are the cluster. */
#ifndef SERVER_DISCOVERY_H
#define SERVER_DISCOVERY_H

#include "server/options.h"

/* True if an option asks for discovery. */
bool discovery_is_wanted(const struct options *o);
/* The members that begin the cluster, or have begun it: those of --initial-cluster, or those that discovery
 * finds, which it puts into *o. Discovery blocks, for as long as other members do not register, and runs
 * before the loop; SIGTERM and SIGINT end the process meanwhile. ERR_INVALID, with a sentence. */
MUST_CHECK int discovery_find_cluster(struct options *o, char *error, size_t error_size);

#endif
