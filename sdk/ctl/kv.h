/* SPDX-License-Identifier: Apache-2.0
 * Private to kv.c and txn.c: requests from command lines and from lines of a transaction. */
#ifndef SDK_CTL_KV_H
#define SDK_CTL_KV_H

#include "sdk/ctl/rpc.h"

enum ctl_exit ctl_read_get(struct ctl *c, const struct ctl_command_line *t, Etcdserverpb__RangeRequest *r);
/* The value may come from standard input if from_stdin is not NULL; from_stdin then holds it. */
enum ctl_exit ctl_read_put(struct ctl *c, const struct ctl_command_line *t, struct buf *from_stdin,
                           Etcdserverpb__PutRequest *r);
enum ctl_exit ctl_read_del(struct ctl *c, const struct ctl_command_line *t,
                           Etcdserverpb__DeleteRangeRequest *r);

/* Splits a line into words as a shell does with quotes:
 *
 * - Blanks separate words; "a b" and 'a b' are one word each.
 * - A backslash escapes a character inside double quotes.
 *
 * The NULL-terminated list lives in the arena and has *ret_count words. */
char **ctl_cut_line(struct arena *a, const char *line, int *ret_count);

/* Reads one comparison of a transaction: mod("k1") = "1". False: it is malformed. Its parts live in the
 * arena. */
bool ctl_read_compare(struct arena *a, const char *line, Etcdserverpb__Compare *ret_compare);

#endif
