/* SPDX-License-Identifier: Apache-2.0
 * Shared by the config center's routes: one request to config/, conditions, errors as answers. */
#ifndef SERVER_API_CONFIG_CALL_H
#define SERVER_API_CONFIG_CALL_H

#include "server/api/call.h"
#include "server/api/config_body.h"

struct config *api_config(const struct api_call *c);
struct config_id api_config_id(const struct api_call *c);

/* A request in the call's arena. answer gets the result; errors are answered here. Sets the call's state and
 * cancel. */
struct config_request *api_config_request(struct api_call *c,
                                          void (*answer)(struct api_call *c,
                                                         const struct config_result *result));
void api_config_fail(struct api_call *c, int err, const struct config_result *result);

/* Answers of writes: with the release that is live, and of those that made none. */
void api_answer_written(struct api_call *c, const struct config_result *result);
void api_answer_unreleased(struct api_call *c, const struct config_result *result);
/* Of a bundle or a promotion: each configuration. */
void api_answer_bundle(struct api_call *c, const struct config_result *result);
bool api_is_dry(const struct api_call *c); /* dry_run or validate: nothing is written */

/* Reads the body of a POST strictly. false: answered. */
bool api_config_annotation(struct api_call *c, enum api_annotation_kind kind, struct api_annotation *ret);
/* If-Match, If-None-Match, if_seq and if_revision. false: answered. */
bool api_config_condition(struct api_call *c, struct config_condition *ret);
/* The format of the body. *ret_is_known false: keep the format of the existing configuration, because there
 * is no type parameter and the Content-Type is absent or a default of programs. ERR_INVALID: there is no such
 * type. */
MUST_CHECK int api_config_format(const struct api_call *c, bool *ret_is_known, enum format *ret_format);

/* The labels of the query, sorted, in the request's arena; of equal keys the first. */
void api_config_labels(struct api_call *c, struct document_map *ret);
/* Converts 32 hexadecimal digits to 16 bytes; false: they are not that. */
bool api_config_tag(const char *md5, uint8_t *ret_tag);

#endif
