/* SPDX-License-Identifier: Apache-2.0
 * Bootstrap messages as bytes (proto/peer.proto), for the process that starts and for the members that answer
 * it. Pure. */
#ifndef CONSENSUS_NODE_BOOT_MESSAGE_H
#define CONSENSUS_NODE_BOOT_MESSAGE_H

#include "base/buf.h"
#include "proto/peer.pb-c.h"

enum { BOOT_MESSAGE_MAX = 256 << 10 };

/* NULL: not a message. Free them with peerpb__..._free_unpacked. */
Peerpb__BootstrapQuery *boot_read_query(struct slice text);
Peerpb__Answer *boot_read_answer(struct slice text);
void boot_write(struct buf *out, const ProtobufCMessage *message);

#endif
