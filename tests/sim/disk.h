/* SPDX-License-Identifier: Apache-2.0
 * A disk in memory that loses unsynced operations as a real disk may. It holds two images of every file and
 * of the folder: the live image, which the programs see (the page cache), and the durable image. Between
 * them is the list of operations that no sync has covered. A power cut keeps any of them, in any order, torn
 * at any sector.
 *
 * A crash may do this to an operation without a sync:
 *   a write        kept, lost, only its first or last sectors kept, only the growth of the file kept
 *   truncate       kept or lost
 *   create, rename, unlink   kept or lost, each whole, independent of the others and of the file's data
 *
 * A sync of a file covers its data and size, not its name; a sync of a folder covers its names. Making a
 * folder is durable at once (io_real.c syncs the parent). A sync that fails loses the operations that it
 * should have kept: the live image still shows them and no later sync writes them (as Linux does). */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "base/buf.h"
#include "base/err.h"

enum { SIM_SECTOR = 512 };

enum sim_op_kind {
    SIM_OP_WRITE = 1,
    SIM_OP_TRUNCATE = 2,
    SIM_OP_CREATE = 4,
    SIM_OP_RENAME = 8,
    SIM_OP_UNLINK = 16,
    SIM_OP_SYNC = 32,
    SIM_OP_SYNC_DIR = 64,
    SIM_OP_READ = 128, /* for faults; never in the journal */
    SIM_OP_MARK = 256, /* the test's own note in the journal */
    SIM_OP_CHANGES = 127,
};

struct sim_disk;

struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *d);
/* Another disk with the live image of this one, all of it durable, no journal. */
struct sim_disk *sim_disk_copy(const struct sim_disk *d);

/* Another disk with the same durable image and the same unsynced operations. Everything that a failed sync
 * lost is missing in its live image too. */
struct sim_disk *sim_disk_copy_unsynced(const struct sim_disk *d);

/* The live image, by path. Inodes stay the same over a rename. */
bool sim_disk_find(const struct sim_disk *d, const char *path, size_t *ret_inode);
struct slice sim_disk_content(const struct sim_disk *d, size_t inode);
void sim_disk_list(const struct sim_disk *d, const char *dir,
                   struct buf *ret_names);        /* NUL-separated, sorted */
uint64_t sim_disk_size(const struct sim_disk *d); /* bytes of all live files */

/* Operations as programs do them; faults apply. */
MUST_CHECK int sim_disk_create(struct sim_disk *d, const char *path, size_t *ret_inode);
MUST_CHECK int sim_disk_read(struct sim_disk *d, size_t inode, uint64_t at, void *data, size_t size,
                             size_t *ret_got);
MUST_CHECK int sim_disk_write(struct sim_disk *d, size_t inode, uint64_t at, const void *data, size_t size);
MUST_CHECK int sim_disk_truncate(struct sim_disk *d, size_t inode, uint64_t size);
MUST_CHECK int sim_disk_sync(struct sim_disk *d, size_t inode);
MUST_CHECK int sim_disk_sync_dir(struct sim_disk *d, const char *dir);
MUST_CHECK int sim_disk_rename(struct sim_disk *d, const char *from, const char *to);
MUST_CHECK int sim_disk_unlink(struct sim_disk *d, const char *path);

/* Locks are the processes' business, not the disk's; they live here because all processes see this. */
bool sim_disk_lock(struct sim_disk *d, const char *path);
void sim_disk_unlock(struct sim_disk *d, const char *path);

/* Changes that no program made: hidden from the programs, durable at once. */
void sim_disk_put(struct sim_disk *d, const char *path, struct slice content);
void sim_disk_flip(struct sim_disk *d, const char *path, uint64_t at, uint8_t mask);

/* The n-th operation from now (1 = the next) of the kinds fails with err, and all later ones too if `stays`
 * is set. A failed write leaves its first half. n = 0: none fails. */
void sim_disk_fail(struct sim_disk *d, unsigned kinds, uint64_t n, int err, bool stays);
uint64_t sim_disk_op_count(const struct sim_disk *d);        /* operations that change, since the beginning */
void sim_disk_set_space(struct sim_disk *d, uint64_t bytes); /* ERR_NO_DISK_SPACE beyond; 0 = no limit */
/* Sync operations of the kinds do nothing from now on: this shows that the tests would detect it. */
void sim_disk_ignore_sync(struct sim_disk *d, unsigned kinds);

/* A power cut at this moment; fates are drawn from the seed. The processes must be dead. It ends the journal.
 */
void sim_disk_crash(struct sim_disk *d, uint64_t seed);

/* The journal: from here on all operations are kept, so that every crash can be tried afterwards. */
void sim_disk_record(struct sim_disk *d);
void sim_disk_mark(struct sim_disk *d, uint64_t mark);

struct sim_crash {
    size_t position; /* operations of the journal that were executed */
    uint64_t mark;   /* the last mark among them; 0 = none */
    char what[96];   /* the fates of the unsynced ones */
};
/* Calls fn with the disk as it may be after a power cut, for every prefix of the journal and every fate in
 * this file's list. It tries all subsets of unsynced operations up to 8, otherwise up to 3 lost or 3 kept. It
 * also tears each write at each sector, and tries each single reordering. Equal images are shown once per
 * mark. fn owns nothing and may write to the image; it returns false to stop. Returns the number of images.
 */
size_t sim_disk_each_crash(const struct sim_disk *d,
                           bool (*fn)(void *arg, struct sim_disk *image, const struct sim_crash *crash),
                           void *arg);

#endif
