/* SPDX-License-Identifier: Apache-2.0
 * The file of --join-token-file, read at start and on SIGHUP. Its content is never logged. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "server/options.h"

static int join_token_read_all(int fd, struct buf *ret_text)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(ret_text, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || ret_text->size > PROOF_FILE_MAX)
            return n < 0 ? ERR_IO : OK;
        ret_text->size += (size_t)n;
    }
}

/* A file of another user, readable through a group of this process, is accepted: orchestrators mount
 * secrets so. */
static void warn_of_mode(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    bool is_own = st.st_uid == geteuid();
    if ((st.st_mode & S_IRWXO) || (is_own && (st.st_mode & S_IRWXG)))
        log_warn("the join token file can be read by other users of this machine: give it the mode 0600",
                 F_STR("join-token-file", path));
}

int options_read_join_tokens(struct options *o, char *error, size_t error_size)
{
    struct proof_tokens tokens = {0};
    struct buf text = {0};
    char wrong[200] = "";
    const char *path = o->join_token_file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? ERR_IO : join_token_read_all(fd, &text);
    if (err) {
        snprintf(error, error_size, "--join-token-file: cannot read %.400s: %s", path, strerror(errno));
        err = ERR_INVALID;
    } else {
        err = proof_tokens_parse(buf_slice(&text), &tokens, wrong, sizeof wrong);
        if (err)
            snprintf(error, error_size, "--join-token-file: %.400s: %s", path, wrong);
        else
            warn_of_mode(fd, path);
    }
    if (fd >= 0)
        close(fd);
    if (text.size)
        secret_clear(text.data, text.size);
    buf_done(&text);
    if (err)
        return err;
    proof_tokens_free(&o->join_tokens);
    o->join_tokens = tokens;
    return OK;
}
