/* SPDX-License-Identifier: Apache-2.0 */
/* cni_config.c - the pod network's configuration file. */
#include "kubelet/cni_config.h"

#include "base/files.h"

#define CONFIG_BYTES_MAX 65536

int cni_config_write(const char *dir, const char *pod_cidr, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    /* hairpin: a pod may reach itself through its own Service.  firewall is not used: the proxy
     * accepts forwarding for pods.  ipMasq neither: pod_masquerade.c has one rule for all. */
    const char *text = arena_printf(a,
                                    "{\n"
                                    "  \"cniVersion\": \"0.4.0\",\n"
                                    "  \"name\": \"coracle\",\n"
                                    "  \"plugins\": [\n"
                                    "    {\n"
                                    "      \"type\": \"bridge\",\n"
                                    "      \"bridge\": \"cni0\",\n"
                                    "      \"isGateway\": true,\n"
                                    "      \"isDefaultGateway\": true,\n"
                                    "      \"forceAddress\": true,\n"
                                    "      \"hairpinMode\": true,\n"
                                    "      \"ipam\": {\n"
                                    "        \"type\": \"host-local\",\n"
                                    "        \"ranges\": [[{ \"subnet\": \"%s\" }]],\n"
                                    "        \"dataDir\": \"%s/../networks\"\n"
                                    "      }\n"
                                    "    },\n"
                                    "    { \"type\": \"portmap\", \"capabilities\": "
                                    "{ \"portMappings\": true } }\n"
                                    "  ]\n"
                                    "}\n",
                                    pod_cidr, dir);
    const char *path = arena_printf(a, "%s/10-coracle.conflist", dir);
    struct bytes old;
    struct error missing = { 0 };
    if (files_read(path, CONFIG_BYTES_MAX, a, &old, &missing) == 0 && bytes_equal_str(old, text))
        return 0;
    if (files_make_dirs(dir, 0755, err) < 0)
        return -1;
    return files_write(path, bytes_of(text), 0644, err);
}
