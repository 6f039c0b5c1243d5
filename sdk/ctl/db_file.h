/* SPDX-License-Identifier: Apache-2.0
 * A snapshot or database file of etcd or Cairn on the disk of this machine, opened for reading. */
#ifndef SDK_CTL_DB_FILE_H
#define SDK_CTL_DB_FILE_H

#include "consensus/etcd_db/etcd_db.h"
#include "sdk/ctl/ctl.h"

struct ctl_db_file {
    struct ctl *c;
    const char *path;
    struct bbolt_source source; /* of the whole file, with a SHA-256 at its end */
    uint64_t read_bytes;        /* since the last look whether the run is stopped */
    int fd;
};

/* `verb` is "open" or "stat", which etcdutl's errors name. Reads return ERR_CANCELED once the run is stopped. *ret_file
 * stays at its address until it is closed. */
enum ctl_exit ctl_db_file_open(struct ctl *c, const char *verb, const char *path,
                               struct ctl_db_file *ret_file);
void ctl_db_file_close(struct ctl_db_file *f);
/* Reports an error of consensus/etcd_db/ with its sentence. */
enum ctl_exit ctl_db_file_fail(struct ctl *c, int err, const char *sentence);

#endif
