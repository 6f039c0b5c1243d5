/* SPDX-License-Identifier: Apache-2.0
 * The end that `snapshot restore` and `import etcd-data-dir` have in common: a database file of etcd, opened,
 * with the changes of a backup's log if need be, becomes the data folder of a member of a new cluster. */
#ifndef SDK_CTL_RESTORE_H
#define SDK_CTL_RESTORE_H

#include "consensus/etcd_db/etcd_db.h"
#include "sdk/ctl/ctl.h"

struct replay_options; /* consensus/backup/replay.h */

struct restore_input {
    struct etcd_db *db;
    uint64_t size;          /* of its file in bytes: the progress is relative to it */
    int64_t until_revision; /* 0 = all of the file */
    uint64_t bump_revision;
    const struct etcd_db_tail *tail; /* NULL = none */
    /* NULL, or: changes the store before the log begins, as etcd_db_restore's replay does. It applies
     * bump_revision itself, which then is 0 here. */
    int (*replay)(void *arg, const struct replay_options *options, struct etcd_db_replayed *ret);
    void *replay_arg;
};

struct restore_result {
    const char *data_dir, *name;
    const struct etcd_db_restored *restored;
};

struct restore_source {
    /* After the flags were checked and before a folder is made: a failure leaves nothing. The input must live
     * until restore_member returns. */
    enum ctl_exit (*open)(struct ctl *c, void *arg, struct restore_input *ret_input);
    /* NULL, or: judges the source once all of it was read, also after an error. */
    enum ctl_exit (*check)(struct ctl *c, void *arg);
    void (*show)(struct ctl *c, void *arg, const struct restore_result *result);
    void *arg;
};

/* Makes the data folder that the flags of the command name (--name, --data-dir, --wal-dir, --initial-cluster,
 * --initial-cluster-token, --initial-advertise-peer-urls), whole or not at all. */
enum ctl_exit restore_member(struct ctl *c, const struct restore_source *source);

/* A percentage on standard error, at a terminal only. */
struct ctl_progress {
    const char *title;
    uint64_t size, percent; /* percent: what is shown */
    bool is_silent;
};

void ctl_progress_show(struct ctl_progress *p, uint64_t bytes);
void ctl_progress_end(struct ctl_progress *p);

#endif
