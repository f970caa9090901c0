/* SPDX-License-Identifier: Apache-2.0 */
/* resource.c - looks rows up. */
#include "api/resource.h"

#include <stdio.h>

static bool is_in(const struct resource *r, const char *group, const char *version)
{
    return str_equal(r->group, group) && str_equal(r->version, version);
}

const struct resource *resource_find(const char *group, const char *version, const char *plural)
{
    for (size_t i = 0; i < RESOURCES; i++)
        if (str_equal(resources[i].plural, plural) && is_in(&resources[i], group, version))
            return &resources[i];
    return NULL;
}

const struct resource *resource_find_kind(const char *group, const char *version, const char *kind)
{
    for (size_t i = 0; i < RESOURCES; i++)
        if (str_equal(resources[i].kind, kind) && is_in(&resources[i], group, version))
            return &resources[i];
    return NULL;
}

const struct resource_subresource *resource_subresource(const struct resource *r, const char *name)
{
    for (size_t i = 0; i < r->subresources_n; i++)
        if (strcmp(r->subresources[i].name, name) == 0)
            return &r->subresources[i];
    return NULL;
}

const char *resource_api_version(const struct resource *r, char *buf, size_t n)
{
    snprintf(buf, n, "%s%s%s", r->group, *r->group ? "/" : "", r->version);
    return buf;
}

const char *resource_qualified(const struct resource *r, char *buf, size_t n)
{
    snprintf(buf, n, "%s%s%s", r->plural, *r->group ? "." : "", r->group);
    return buf;
}
