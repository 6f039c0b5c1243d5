/* SPDX-License-Identifier: Apache-2.0
 * Private to config*.c: declarations that the commands of the config center share. */
#ifndef SDK_CTL_CONFIG_H
#define SDK_CTL_CONFIG_H

#include "sdk/ctl/ctl.h"

enum {
    CTL_CONTENT_MAX = 64 << 20,  /* bytes of one configuration; the server has its own limit */
    CTL_ARCHIVE_MAX = 512 << 20, /* bytes of an import */
};

/* /api/v1/configs[/NAME]REST?namespace=...&group=... */
void ctl_config_path(const struct ctl *c, struct ctl_call *call, const char *name, const char *rest);
/* "shop.yaml: release 3, revision 12" */
void ctl_print_written(struct ctl *c, const json_t *doc, const char *name);

/* Runs diff -u on two files; *ret_status is diff's: 0 equal, 1 different. A difference that is not the command's
 * result goes to standard error. */
enum ctl_exit ctl_run_diff(struct ctl *c, bool is_result, const char *old_label, const char *old_file,
                           const char *new_label, const char *new_file, int *ret_status);

#endif
