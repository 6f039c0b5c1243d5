/* SPDX-License-Identifier: Apache-2.0
 * Our version, and the versions of etcd's API that we announce. */
#ifndef SERVER_VERSION_H
#define SERVER_VERSION_H

#define CAIRN_VERSION "0.1.0"
#define ETCD_VERSION  "3.7.1" /* Status, /version, --version */

struct buf;

/* The output of --version: our own line first, unless the program runs under the name etcd. */
void options_version(const char *program, struct buf *out);

#endif
