/* SPDX-License-Identifier: Apache-2.0
 * The audit trail of this process by its options: the records in the store (consensus/audit.h), and their
 * lines in the file of --audit-log. Loop thread only. */
#ifndef SERVER_AUDIT_LOG_H
#define SERVER_AUDIT_LOG_H

#include "consensus/audit.h"
#include "server/options.h"

struct audit_log;

/* ERR_IO with a sentence: the file cannot be opened. */
MUST_CHECK int audit_log_open(struct kv *kv, const struct options *options, char *error, size_t error_size,
                              struct audit_log **ret);
void audit_log_close(struct audit_log *l); /* before the kv is closed; NULL is fine */
void audit_log_turn(struct audit_log *l);  /* in each turn, after kv_turn; NULL is fine */
/* For rpc_server.on_audit; arg is the audit_log. */
void audit_log_report(void *arg, const struct audit_record *r);
/* NULL: --audit is false. */
struct audit *audit_log_trail(const struct audit_log *l);

#endif
