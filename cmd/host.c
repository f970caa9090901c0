/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - name and addresses of this machine. */

#include "cmd/host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <unistd.h>

int host_name(struct arena *a, const char **name, struct error *err)
{
    char text[HOST_NAME_MAX + 1];
    if (gethostname(text, sizeof(text)) < 0)
        return error_errno(err, "read the host's name");
    text[sizeof(text) - 1] = '\0';
    for (char *c = text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    *name = arena_strdup(a, text);
    return 0;
}

/* The interface of the route to 0.0.0.0/0 in /proc/net/route, whose third column is in hex. */
static bool default_interface(char name[IF_NAMESIZE])
{
    scoped(file) FILE *f = fopen("/proc/net/route", "re");
    if (!f)
        return false;
    char line[256];
    unsigned long destination, mask;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%15s %lx %*x %*x %*d %*d %*d %lx", name, &destination, &mask) == 3 &&
            destination == 0 && mask == 0)
            return true;
    }
    return false;
}

int host_address(struct arena *a, const char **address, struct error *err)
{
    char preferred[IF_NAMESIZE] = "";
    bool has_default = default_interface(preferred);
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return error_errno(err, "list the host's addresses");

    *address = "127.0.0.1";
    bool found = false;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK))
            continue;
        bool is_preferred = has_default && str_equal(i->ifa_name, preferred);
        if (found && !is_preferred)
            continue;
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, text,
                  sizeof(text));
        *address = arena_strdup(a, text);
        found = true;
        if (is_preferred)
            break;
    }
    freeifaddrs(all);
    return 0;
}

int host_nth_address(const char *cidr, unsigned n, struct arena *a, const char **address,
                     struct error *err)
{
    char text[INET_ADDRSTRLEN];
    size_t len = strcspn(cidr, "/");
    struct in_addr in;
    if (len >= sizeof(text))
        return error_set(err, ERR_BAD_REQUEST, "%s: not an IPv4 network", cidr);
    memcpy(text, cidr, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, &in) != 1)
        return error_set(err, ERR_BAD_REQUEST, "%s: not an IPv4 network", cidr);
    in.s_addr = htonl(ntohl(in.s_addr) + n);
    *address = arena_strdup(a, inet_ntop(AF_INET, &in, text, sizeof(text)));
    return 0;
}
