/* SPDX-License-Identifier: Apache-2.0
 * Shared by workflow.c and rollout.c: fields that several documents of the workflow have. */
#ifndef CONFIG_WORKFLOW_PRIVATE_H
#define CONFIG_WORKFLOW_PRIVATE_H

#include "config/workflow.h"

/* Begins a tolerant reading. False: the text is too long, and nothing was begun. */
bool workflow_begin(struct document_reader *r, struct slice text, struct arena *a, char *error,
                    size_t error_size);
/* The index of the field "state" among the names. */
int workflow_read_state(struct document_reader *r, const char *const *names, int count);
void workflow_read_act(struct document_reader *r, const char *field, struct workflow_act *ret);
void workflow_add_act(struct json_writer *w, const char *field, const struct workflow_act *act); /* if any */

#endif
