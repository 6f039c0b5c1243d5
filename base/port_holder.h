/* SPDX-License-Identifier: Apache-2.0
 * Name of the process that holds a local port, for the text of "address already in use". It reads /proc of
 * this machine and may take some milliseconds: only for a start that fails. */
#ifndef BASE_PORT_HOLDER_H
#define BASE_PORT_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes ": process 4711 (etcd) uses port 2379; stop it, or choose another port with FLAG" to text. A process
 * of another user is named by its user when its descriptors are not readable. Always ends with 0; cut at
 * size. */
void port_holder_describe(uint16_t port, bool is_udp, const char *flag, char *text, size_t size);

#endif
