/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.Auth: clients ask for the status before they do anything else. Users, roles and enabling are
 * not served yet, so the answer is always "not enabled", at auth revision 1, which is what etcd starts with.
 */
#include "server/rpc/service.h"

void rpc_auth_status(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    Etcdserverpb__AuthStatusResponse response = ETCDSERVERPB__AUTH_STATUS_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    rpc_header_now(c, &header);
    response.header = &header;
    response.authrevision = 1;
    rpc_reply(c, 0, &response.base);
}
