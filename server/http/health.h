/* SPDX-License-Identifier: Apache-2.0
 * Private header of server/http: /health, /livez and /readyz. */
#ifndef SERVER_HTTP_HEALTH_H
#define SERVER_HTTP_HEALTH_H

#include "server/http/request.h"

/* Starts the metrics etcd_server_healthcheck and etcd_server_healthchecks_total. */
void http_health_metrics_start(void);
void http_health_metrics_stop(void);

#endif
