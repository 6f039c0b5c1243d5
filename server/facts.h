/* SPDX-License-Identifier: Apache-2.0
 * Information metrics of a member, as etcd has them: versions and the member ID, each a label with the
 * value 1. */
#ifndef SERVER_FACTS_H
#define SERVER_FACTS_H

#include "base/buf.h"

/* A collector of base/metric.h. kv: struct kv. */
void facts_collect(void *kv, struct buf *out);

#endif
