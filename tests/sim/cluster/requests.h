/* SPDX-License-Identifier: Apache-2.0
 * The conversion between the history's records and the messages of kv.h. A recorded request becomes etcd's
 * message and is started; a response becomes a recorded reply. There are no decisions here. */
#ifndef TESTS_SIM_CLUSTER_REQUESTS_H
#define TESTS_SIM_CLUSTER_REQUESTS_H

#include "consensus/kv.h"
#include "tests/check/history.h"

/* Starts r on kv; the message lives in the arena. */
void request_start(struct kv *kv, struct kv_request *r, const struct history_request *h, struct arena *a);
/* response is the argument of done; everything in the reply lies in the arena. */
void request_reply(const struct history_request *h, const ProtobufCMessage *response, struct arena *a,
                   struct history_reply *ret_reply);
enum history_outcome request_outcome(int err);
struct history_kv request_kv(const Mvccpb__KeyValue *kv);

#endif
