/* SPDX-License-Identifier: Apache-2.0
 * A backup that --backup-dir of cairnd has written, read from the disk of this machine (consensus/backup/). */
#ifndef SDK_CTL_BACKUP_H
#define SDK_CTL_BACKUP_H

#include "consensus/backup/archive.h"
#include "consensus/backup/replay.h"
#include "sdk/ctl/ctl.h"

struct ctl_backup {
    struct ctl *c;
    const char *dir; /* of one member */
    struct backup_folder folder;
    struct backup_catalog catalog;
    struct backup_plan plan;
    uint64_t hashes, entries; /* of the last replay */
};

enum { CTL_BACKUP_MEMBERS_MAX = 256 };

/* The folders of members in a backup folder, in the folder of a cluster in it, or this one itself. Reports that
 * there is none. */
enum ctl_exit ctl_backup_members(struct ctl *c, const char *dir, const char **ret_list, size_t *ret_count);
/* Opens the folder of one member. */
enum ctl_exit ctl_backup_open(struct ctl *c, const char *dir, struct ctl_backup *ret_backup);
void ctl_backup_close(struct ctl_backup *b);
/* Opens the member's folder that reaches furthest towards the target, with its plan. A damaged snapshot is left
 * out, with a note, if an older one leads to the target too. */
enum ctl_exit ctl_backup_choose(struct ctl *c, const char *dir, const struct backup_target *target,
                                struct ctl_backup *ret_backup);
const char *ctl_backup_full(const struct ctl_backup *b, const struct backup_file *full); /* its path */
/* The flags --to-revision and --to-time. */
enum ctl_exit ctl_backup_target(struct ctl *c, struct backup_target *ret_target);

/* A function that a replay calls after each record; may be NULL. */
struct ctl_backup_watch {
    int (*fn)(void *arg, struct replay *replay, const struct backup_record *record);
    void *arg;
};
/* Applies the plan's records. It sets index, term and election_ms of the options itself. Errors as of
 * backup_plan_walk and replay.h, with their sentence; ERR_CANCELED: the run is stopped. */
MUST_CHECK int ctl_backup_replay(struct ctl_backup *b, const struct replay_options *options,
                                 uint64_t bump_revision, const struct ctl_backup_watch *watch,
                                 struct etcd_db_replayed *ret);

#endif
