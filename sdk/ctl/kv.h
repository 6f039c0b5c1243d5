/* SPDX-License-Identifier: Apache-2.0
 * Private to kv.c and txn.c: what was typed as a request, on the command line or as a line of a transaction.
 */
#ifndef SDK_CTL_KV_H
#define SDK_CTL_KV_H

#include "sdk/ctl/rpc.h"

enum ctl_exit ctl_read_get(struct ctl *c, const struct ctl_typed *t, Etcdserverpb__RangeRequest *r);
/* The value may come from standard input if from_stdin is not NULL: it lives there then. */
enum ctl_exit ctl_read_put(struct ctl *c, const struct ctl_typed *t, struct buf *from_stdin,
                           Etcdserverpb__PutRequest *r);
enum ctl_exit ctl_read_del(struct ctl *c, const struct ctl_typed *t, Etcdserverpb__DeleteRangeRequest *r);

/* Cuts a line into words as a shell does with quotes: blanks separate, "a b" and 'a b' are one word each, a
 * backslash keeps what follows inside double quotes. NULL at the end; in the arena. *ret_count words. */
char **ctl_cut_line(struct arena *a, const char *line, int *ret_count);

/* One comparison of a transaction: mod("k1") = "1". false: it is none. Parts live in the arena. */
bool ctl_read_compare(struct arena *a, const char *line, Etcdserverpb__Compare *ret_compare);

#endif
