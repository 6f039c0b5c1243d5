/* SPDX-License-Identifier: Apache-2.0
 * Bootstrap messages as bytes; see boot_message.h. */
#include "consensus/node/boot_message.h"

Peerpb__BootstrapQuery *boot_read_query(struct slice text)
{
    return text.size <= BOOT_MESSAGE_MAX ? peerpb__bootstrap_query__unpack(NULL, text.size, text.data) : NULL;
}

Peerpb__Answer *boot_read_answer(struct slice text)
{
    return text.size <= BOOT_MESSAGE_MAX ? peerpb__answer__unpack(NULL, text.size, text.data) : NULL;
}

void boot_write(struct buf *out, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_reserve(out, size));
    out->size += size;
}
