/* SPDX-License-Identifier: Apache-2.0
 * What the config center's routes share: one request to its door, conditions, and how its errors are told. */
#ifndef SERVER_API_CONFIG_CALL_H
#define SERVER_API_CONFIG_CALL_H

#include "server/api/call.h"

struct config *api_config(const struct api_call *c);
struct config_id api_config_id(const struct api_call *c);

/* A request in the call's arena; answer has what came of it, errors are told here. The call's state and
 * cancel are set. */
struct config_request *api_config_request(struct api_call *c,
                                          void (*answer)(struct api_call *c,
                                                         const struct config_result *result));
void api_config_fail(struct api_call *c, int err, const struct config_result *result);

/* If-Match, If-None-Match, if_seq and if_revision. false: answered. */
bool api_config_condition(struct api_call *c, struct config_condition *ret);
/* ERR_INVALID: there is no such type. is_known: something says it, and it need not be what it was before. */
MUST_CHECK int api_config_format(const struct api_call *c, bool *ret_is_known, enum format *ret_format);

/* 16 bytes of 32 hexadecimal digits; false: they are none. */
bool api_config_tag(const char *md5, uint8_t *ret_tag);

#endif
