/* SPDX-License-Identifier: Apache-2.0
 * Log memory: at most log_bytes_max of entries that are applied and on our disk stay in memory. A follower
 * that needs older entries gets them from the WAL.
 *
 *   1. node_turn -> node_manage_memory   drops entries beyond the limit; raft_wants_entries names a range
 *   2. wal_read                          a worker reads one piece; one read is under way at a time
 *   3. node_read_back_on_read            raft_give_entries; raft knows for which follower
 *
 * Raft drops entries that are no longer needed: this member does not lead any more, or the log was cut.
 *
 * Failures: a read, a checksum, or the entry is missing although the log was not cut that far. Each
 * means that durable data is lost: options.failed, final. */
#include <inttypes.h>

#include "base/log.h"
#include "base/metric.h"
#include "consensus/node/node_impl.h"

#define READ_BYTES_MAX (1u << 20) /* a message to a follower; one larger entry goes alone */

static void read_back_fail(struct node *n, int err)
{
    log_error("an entry that was durable cannot be read back from the log", F_UINT("index", n->read_from),
              F_STR("error", err_text(err)));
    n->is_failed = true;
    n->options.failed(n->options.arg, err);
}

static void give_entries(struct node *n, const struct wal_entry *entries, size_t count)
{
    struct raft_entry *list = mem_new(count * sizeof *list);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += entries[i].data.size;
        list[i] = (struct raft_entry){
            .index = entries[i].index,
            .term = entries[i].term,
            .type = (enum raft_entry_type)entries[i].type,
            .data = entries[i].data.size ? blob_copy(entries[i].data) : NULL,
        };
    }
    metric_add(METRIC_LOG_READ_BACK_BYTES, (double)bytes);
    int err = raft_give_entries(n->raft, list, count);
    for (size_t i = 0; i < count; i++)
        blob_unref(list[i].data);
    mem_free(list);
    if (err)
        read_back_fail(n, err);
}

static void node_read_back_on_read(void *arg, int err, const struct wal_entry *entries, size_t count)
{
    struct node *n = arg;
    if (n->on_closed) {
        node_close_finish(n);
        return;
    }
    if (n->is_failed)
        return;
    if (!err)
        give_entries(n, entries, count);
    else if (n->read_from >= raft_first_index(n->raft)) /* else it was released meanwhile */
        read_back_fail(n, err);
}

void node_manage_memory(struct node *n)
{
    struct raft_wanted_entries wanted;
    raft_evict(n->raft, n->options.log_bytes_max);
    metric_set(METRIC_LOG_MEMORY, (double)raft_held_bytes(n->raft));
    metric_set(METRIC_LOG_DISK, (double)wal_disk_size(n->wal));
    if (n->is_failed || wal_is_reading(n->wal) || !raft_wants_entries(n->raft, &wanted))
        return;
    struct wal_range range = {wanted.from, wanted.to, wanted.term, READ_BYTES_MAX};
    n->read_from = wanted.from;
    wal_read(n->wal, &range, node_read_back_on_read, n);
}
