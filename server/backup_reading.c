/* SPDX-License-Identifier: Apache-2.0
 * Entries that the backup does not have in memory, read from the log again: after a start, and after its queue
 * was full. A slice of the log in each turn, while half of the queue is free.
 *
 * The log holds an entry until it is durable in the backup, within a limit (kv_keep_log). When it was cut
 * before, or the outcome of an entry is not known, the backup has a gap. */
#include "base/log.h"
#include "server/backup_impl.h"

void backup_reading_start(struct backup *b, uint64_t index)
{
    uint64_t term;
    b->read_index = index;
    b->state = index < kv_applied_index(b->options.kv, &term) ? BACKUP_READING : BACKUP_FOLLOWING;
}

/* False: the following ones have to wait, or there is a gap. */
static bool take_entry(struct backup *b, const struct kv_applied *e)
{
    struct backup_outcome outcome;
    if (!backup_outcomes_get(&b->outcomes, e->index, &outcome)) {
        backup_begin_gap(b, "too many changes wait");
        return false;
    }
    uint64_t time_ms = outcome.time_ms > b->queued_ms ? outcome.time_ms : b->queued_ms;
    const struct backup_record record = {.kind = BACKUP_ENTRY,
                                         .index = e->index,
                                         .term = e->term,
                                         .revision = outcome.revision,
                                         .time_ms = time_ms,
                                         .data = outcome.is_kept ? e->data : (struct slice){0}};
    if (!backup_queue_entry(b, &record))
        return false;
    b->read_index = e->index;
    return true;
}

static void backup_on_read(void *arg, int err, const struct kv_applied *list, size_t count)
{
    struct backup *b = arg;
    b->is_reading = false;
    if (b->state != BACKUP_READING)
        return;
    if (err)
        backup_begin_gap(b, err == ERR_NOT_FOUND ? "the log was cut before all changes were read again"
                                                 : err_text(err));
    for (size_t i = 0; !err && i < count; i++)
        if (!take_entry(b, &list[i]))
            break;
    if (b->state != BACKUP_GAP) /* it may have begun another run */
        backup_reading_start(b, b->read_index);
}

void backup_reading_turn(struct backup *b)
{
    if (b->state != BACKUP_READING || b->is_reading || b->bytes > BACKUP_QUEUE_MAX / 2)
        return;
    b->is_reading = true; /* backup_on_read may be called at once */
    if (!kv_read_log(b->options.kv, b->read_index + 1, backup_on_read, b))
        b->is_reading = false;
}
