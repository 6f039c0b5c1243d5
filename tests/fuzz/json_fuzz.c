/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: API messages as JSON, in both directions. The first byte picks the message, and the rest is
 * read as JSON and as protobuf. A message that can be read must survive printing and reading again. */
#include <assert.h>

#include "base/text.h"
#include "proto/election.pb-c.h"
#include "proto/json.h"
#include "proto/lock.pb-c.h"
#include "proto/rpc.pb-c.h"

static const ProtobufCMessageDescriptor *const messages[] = {
#define MESSAGE(name) &name##__descriptor,
#include "tests/unit/messages.def"
#undef MESSAGE
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *at = buf_reserve(out, n);
    out->size += protobuf_c_message_pack(m, at);
}

/* A message that is printed and read again is the same, unless strings were not UTF-8 (then they contain
 * U+FFFD). */
static void round_trip(const ProtobufCMessage *m, struct arena *a, bool must_be_same)
{
    char error[160];
    struct buf json = {0}, before = {0}, after = {0};
    ProtobufCMessage *back = NULL;
    message_to_json(m, &json);
    assert(utf8_is_valid(buf_slice(&json)));
    int err = json_to_message(m->descriptor, buf_slice(&json), a, error, sizeof error, &back);
    assert(!err || !must_be_same);
    if (must_be_same) {
        pack(m, &before);
        pack(back, &after);
        assert(slice_equal(buf_slice(&before), buf_slice(&after)));
    }
    buf_done(&json);
    buf_done(&before);
    buf_done(&after);
}

static void cut(struct slice text)
{
    struct json_scan s = {0};
    while (text.size) {
        size_t n = json_scan(&s, text);
        assert(n > 0 && n <= text.size && (s.is_complete || n == text.size));
        text = slice_of(text.data + n, text.size - n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const ProtobufCMessageDescriptor *d = messages[data[0] % (sizeof messages / sizeof *messages)];
    struct slice rest = slice_of(data + 1, size - 1);
    struct arena a = {0};
    ProtobufCMessage *m = NULL;
    char error[160];
    int err = json_to_message(d, rest, &a, error, sizeof error, &m);
    assert(!err == (m != NULL) && !err == !error[0]);
    if (m)
        round_trip(m, &a, true);
    cut(rest);
    m = protobuf_c_message_unpack(d, arena_allocator(&a), rest.size, rest.data);
    if (m)
        round_trip(m, &a, false);
    arena_done(&a);
    return 0;
}
