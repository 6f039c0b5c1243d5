/* SPDX-License-Identifier: Apache-2.0
 * Search for the process that holds a port. /proc/net lists sockets with their inodes and owners. The
 * process is the one that has a descriptor which links to "socket:[inode]". Sockets of other network
 * namespaces are not visible. */
#include "base/port_holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TCP_LISTENS = 0x0a, UDP_BOUND = 0x07 };

struct holder {
    unsigned long inode;
    unsigned uid;
};

/* Finds the first socket of a table of /proc/net that is bound to the port and receives. */
static bool find_socket(const char *table, unsigned state, uint16_t port, struct holder *ret)
{
    FILE *f = fopen(table, "re");
    char line[512];
    bool is_found = false;
    while (f && !is_found && fgets(line, sizeof line, f)) {
        unsigned at_port, at_state;
        is_found = sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %u %*d %lu",
                          &at_port, &at_state, &ret->uid, &ret->inode) == 4 &&
                   at_port == port && at_state == state;
    }
    if (f)
        fclose(f);
    return is_found;
}

static bool has_socket(const char *pid, unsigned long inode)
{
    char path[300], wanted[64], link[64];
    bool is_found = false;
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && !is_found && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n > 0 ? n : 0] = 0;
        is_found = strcmp(link, wanted) == 0;
    }
    if (d)
        closedir(d);
    return is_found;
}

/* Returns the process that has this socket; 0 = none whose descriptors are readable. */
static long find_process(unsigned long inode)
{
    long pid = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && !pid && (e = readdir(d)) != NULL;)
        if (isdigit((unsigned char)e->d_name[0]) && has_socket(e->d_name, inode))
            pid = atol(e->d_name);
    if (d)
        closedir(d);
    return pid;
}

static void read_name(long pid, char name[32])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *f = fopen(path, "re");
    if (!f || !fgets(name, 32, f))
        snprintf(name, 32, "?");
    if (f)
        fclose(f);
    name[strcspn(name, "\n")] = 0;
}

void port_holder_describe(uint16_t port, bool is_udp, const char *flag, char *text, size_t size)
{
    static const char *const tables[2][2] = {{"/proc/net/tcp", "/proc/net/tcp6"},
                                             {"/proc/net/udp", "/proc/net/udp6"}};
    unsigned state = is_udp ? UDP_BOUND : TCP_LISTENS;
    struct holder h;
    char holder[96] = "another process";
    if (find_socket(tables[is_udp][0], state, port, &h) || find_socket(tables[is_udp][1], state, port, &h)) {
        long pid = find_process(h.inode);
        char name[32];
        if (pid) {
            read_name(pid, name);
            snprintf(holder, sizeof holder, "process %ld (%s)", pid, name);
        } else {
            snprintf(holder, sizeof holder, "a process of user %u", h.uid);
        }
    }
    snprintf(text, size, ": %s uses port %u; stop it, or choose another port with %s", holder, port, flag);
}
