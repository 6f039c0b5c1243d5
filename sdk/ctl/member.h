/* SPDX-License-Identifier: Apache-2.0
 * Private to the membership commands: requests that several of them send. */
#ifndef SDK_CTL_MEMBER_H
#define SDK_CTL_MEMBER_H

#include "sdk/ctl/rpc.h"

enum ctl_exit ctl_list_members(struct ctl *c, bool is_serializable, bool is_quiet,
                               Etcdserverpb__MemberListResponse **ret);
enum ctl_exit ctl_list_alarms(struct ctl *c, bool is_quiet, Etcdserverpb__AlarmResponse **ret);
const char *ctl_alarm_name(int alarm);
/* Gets the status of one endpoint; an error is left in rpc->error. */
enum ctl_exit ctl_get_status(struct ctl *c, size_t endpoint, struct ctl_rpc *rpc,
                             Etcdserverpb__StatusResponse **ret);
/* Replaces the endpoints by those that the members advertise. */
enum ctl_exit ctl_use_cluster(struct ctl *c);

#endif
