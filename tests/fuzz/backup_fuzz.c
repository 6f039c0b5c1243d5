/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: segments and names of a continuous backup. The first byte says how the rest is read: as a
 * name, or as a segment, as it is or with right checksums, so that the input reaches the code after them.
 * The records of a walk lie within the input, in order, and a second walk of the good part gives the same. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/backup/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct slice bytes;
    uint64_t index;
    size_t count;
};

static int see(void *arg, const struct backup_record *record)
{
    struct seen *s = arg;
    assert(record->data.data >= s->bytes.data &&
           record->data.data + record->data.size <= s->bytes.data + s->bytes.size);
    assert(s->count == 0 || record->index == s->index + (record->kind == BACKUP_ENTRY));
    assert(record->kind != BACKUP_HASH || record->data.size == BACKUP_HASH_SIZE);
    s->index = record->index;
    s->count++;
    return OK;
}

/* Makes the header and, as far as they have sizes that fit, the records valid. */
static void sum(uint8_t *bytes, size_t size)
{
    struct backup_header h = {.run = 1, .sequence = 1, .index = 1};
    struct backup_record record;
    size_t n, at = BACKUP_HEADER_SIZE;
    backup_header_write(&h, bytes);
    while (backup_record_read(slice_of(bytes + at, size - at), NULL, &record, &n) == OK) {
        backup_records_sum(bytes + at, n, &h);
        at += n;
    }
}

static void walk(struct slice bytes, bool is_open)
{
    struct seen seen = {.bytes = bytes}, again = {.bytes = bytes};
    struct backup_segment_end end, end_again;
    int err = backup_segment_walk(bytes, is_open, see, &seen, &end);
    assert(end.good_size <= bytes.size);
    if (err || !end.good_size || !is_open)
        return;
    assert(backup_segment_walk(slice_of(bytes.data, end.good_size), true, see, &again, &end_again) == OK);
    assert(!end_again.is_torn && again.count == seen.count && end_again.index == end.index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *bytes = mem_alloc(size); /* with a NUL behind the name */
    memcpy(bytes, data + 1, size - 1);
    bytes[size - 1] = '\0';
    if (data[0] % 4 == 0) {
        struct backup_file file;
        (void)backup_file_parse((const char *)bytes, &file);
    } else {
        if (data[0] % 4 > 1 && size > BACKUP_HEADER_SIZE)
            sum(bytes, size - 1);
        walk(slice_of(bytes, size - 1), data[0] % 4 != 3);
    }
    mem_free(bytes);
    return 0;
}
