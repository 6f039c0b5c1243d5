/* SPDX-License-Identifier: Apache-2.0
 * Checks of the data folder before the start. See data_dir.h. */
#include "server/data_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

/* A restore that was killed leaves this folder and no member (sdk/ctl/restore.c). The member must not begin
 * empty in place of what was to be restored. */
static int check_restore(const char *dir, char *error, size_t error_size)
{
    struct buf path = {0};
    struct stat st;
    buf_addf(&path, "%s/member.restoring", dir);
    bool is_interrupted = lstat(buf_text(&path), &st) == 0;
    buf_clear(&path);
    buf_addf(&path, "%s/member", dir);
    is_interrupted = is_interrupted && lstat(buf_text(&path), &st) != 0;
    buf_done(&path);
    if (!is_interrupted)
        return OK;
    snprintf(
        error, error_size,
        "%.300s has member.restoring and no member: a restore was interrupted; run \"cairnctl snapshot "
        "restore\" or \"cairnctl import etcd-data-dir\" again, or remove member.restoring to begin empty",
        dir);
    return ERR_CORRUPT;
}

static bool has_file(const char *dir, const char *name)
{
    struct buf path = {0};
    struct stat st;
    buf_addf(&path, "%s/%s", dir, name);
    bool is_there = stat(buf_text(&path), &st) == 0;
    buf_done(&path);
    return is_there;
}

/* A member that began in a folder of etcd's would begin empty, beside data that somebody needs. */
static int check_etcd(const char *dir, char *error, size_t error_size)
{
    if (!has_file(dir, "member/snap/db") || has_file(dir, "member/store"))
        return OK;
    snprintf(
        error, error_size,
        "%.300s is a data folder of etcd (it has member/snap/db) and is left as it is: stop etcd, and make a "
        "folder for cairnd with \"cairnctl import etcd-data-dir %.300s --data-dir NEW\"",
        dir, dir);
    return ERR_CORRUPT;
}

int check_data_dir(const char *dir, char *error, size_t error_size)
{
    char *path = mem_string(dir);
    struct stat st;
    int err = OK;
    while (stat(path, &st) != 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');
        if (slash == path)
            slash++; /* keeps "/" */
        if (!slash)
            strcpy(path, "."); /* a name has at least one character */
        else
            *slash = 0;
    }
    if (stat(path, &st) != 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)) ||
        access(path, R_OK | W_OK | X_OK) != 0) {
        snprintf(error, error_size, "cannot use the data folder %.300s: %.300s: %s", dir, path,
                 strerror(errno));
        err = ERR_IO;
    }
    mem_free(path);
    if (!err)
        err = check_restore(dir, error, error_size);
    return err ? err : check_etcd(dir, error, error_size);
}
