/* SPDX-License-Identifier: Apache-2.0
 * Names of etcd's buckets and of their fixed keys. Private to consensus/etcd_db/. */
#ifndef CONSENSUS_ETCD_DB_BUCKETS_H
#define CONSENSUS_ETCD_DB_BUCKETS_H

#include "consensus/etcd_db/etcd_db.h"

#define ETCD_BUCKET_KEY             "key"
#define ETCD_BUCKET_META            "meta"
#define ETCD_BUCKET_LEASE           "lease"
#define ETCD_BUCKET_ALARM           "alarm"
#define ETCD_BUCKET_CLUSTER         "cluster"
#define ETCD_BUCKET_MEMBERS         "members"
#define ETCD_BUCKET_MEMBERS_REMOVED "members_removed"
#define ETCD_BUCKET_AUTH            "auth"
#define ETCD_BUCKET_AUTH_USERS      "authUsers"
#define ETCD_BUCKET_AUTH_ROLES      "authRoles"

#define ETCD_META_INDEX           "consistent_index"
#define ETCD_META_TERM            "term"
#define ETCD_META_CONF_STATE      "confState"
#define ETCD_META_SCHEDULED       "scheduledCompactRev"
#define ETCD_META_FINISHED        "finishedCompactRev"
#define ETCD_META_STORAGE_VERSION "storageVersion"
#define ETCD_CLUSTER_VERSION      "clusterVersion"
#define ETCD_CLUSTER_DOWNGRADE    "downgrade"
#define ETCD_AUTH_ENABLED         "authEnabled"
#define ETCD_AUTH_REVISION        "authRevision"

#define ETCD_VERSION "3.7.0" /* of the storage: the fields above */

#endif
