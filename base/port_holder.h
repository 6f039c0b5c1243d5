/* SPDX-License-Identifier: Apache-2.0
 * The name of the process that holds a local port, for the error "address already in use". It reads /proc
 * of this machine and may take some milliseconds, so it is for a failed start only. */
#ifndef BASE_PORT_HOLDER_H
#define BASE_PORT_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes ": process 4711 (etcd) uses port 2379; stop it, or choose another port with FLAG" to text. If the
 * descriptors of the process are not readable, the text names its user. Always NUL-terminated; cut at
 * size. */
void port_holder_describe(uint16_t port, bool is_udp, const char *flag, char *text, size_t size);

#endif
