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
 * The owner reads entries with node_read_log, for a backup that is behind: from memory, or with wal_read when
 * nothing else is being read. A failure of such a read is the owner's.
 *
 * Failures of a read for raft: a read, a checksum, or the entry is missing although the log was not cut that far. Each
 * means that durable data is lost: options.failed, final. */
#include <inttypes.h>

#include "base/log.h"
#include "base/metric.h"
#include "consensus/node/node_impl.h"

#define READ_BYTES_MAX   (1u << 20) /* a message to a follower; one larger entry goes alone */
#define READ_ENTRIES_MAX 4096u      /* of one node_read_log */

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

/* --- reads by the owner ------------------------------------------------------------------------------ */

static void node_read_back_on_log(void *arg, int err, const struct wal_entry *entries, size_t count)
{
    struct node *n = arg;
    void (*fn)(void *, int, const struct node_log_entry *, size_t) = n->log_read.fn;
    n->log_read.fn = NULL;
    if (n->on_closed) {
        node_close_finish(n);
        return;
    }
    if (!fn)
        return;
    struct node_log_entry *list = mem_new((count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = (struct node_log_entry){entries[i].index, entries[i].term, entries[i].data};
    fn(n->log_read.arg, err, list, err ? 0 : count);
    mem_free(list);
}

/* The entries in memory from `from` on. */
static size_t entries_in_memory(const struct node *n, uint64_t from, uint64_t to, size_t bytes_max,
                                struct node_log_entry list[READ_ENTRIES_MAX])
{
    size_t bytes = 0, count = 0;
    for (uint64_t i = from; i <= to && count < READ_ENTRIES_MAX; i++) {
        const struct raft_entry *e = raft_entry_at(n->raft, i);
        struct slice data = e ? blob_slice(e->data) : (struct slice){0};
        if (!e || (count && bytes + data.size > bytes_max))
            break;
        bytes += data.size;
        list[count++] = (struct node_log_entry){e->index, e->term, data};
    }
    return count;
}

bool node_read_log(struct node *n, uint64_t from, uint64_t to, size_t bytes_max,
                   void (*fn)(void *arg, int err, const struct node_log_entry *list, size_t count), void *arg)
{
    struct wal_range range = {.from = from, .bytes_max = bytes_max};
    if (n->is_failed || n->log_read.fn)
        return false;
    struct node_log_entry *list = mem_alloc(READ_ENTRIES_MAX * sizeof *list);
    size_t count = entries_in_memory(n, from, to, bytes_max, list);
    if (count)
        fn(arg, OK, list, count);
    mem_free(list);
    if (count)
        return true;
    if (from < raft_first_index(n->raft) || raft_term_at(n->raft, from, &range.term) != OK) {
        fn(arg, ERR_NOT_FOUND, NULL, 0);
        return true;
    }
    if (wal_is_reading(n->wal))
        return false;
    uint64_t end = raft_run_end(n->raft, from);
    range.to = to < end ? to : end;
    n->log_read.fn = fn;
    n->log_read.arg = arg;
    wal_read(n->wal, &range, node_read_back_on_log, n);
    return true;
}

void node_read_log_cancel(struct node *n)
{
    n->log_read.fn = NULL;
}
