/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_server.c - an API server on a free port over a store in DIR, for test/api: prints
 * "READY <port> <kubeconfig>" and serves until SIGTERM.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "apiserver/apiserver.h"
#include "base/log.h"

static int fail(const struct error *err)
{
    log_error("test", "%s", err->message);
    return 1;
}

static int serve(const char *dir, struct storage *storage, const sigset_t *stop)
{
    static const char *const groups[] = { "system:masters", NULL };
    struct error err = { 0 };
    char url[64], kubeconfig[512];
    int signal_number;
    struct apiserver_config config = { .storage = storage,
                                       .data_dir = dir,
                                       .bind_address = "127.0.0.1",
                                       .advertise_address = "127.0.0.1",
                                       .loops = 2 };
    struct apiserver *a = apiserver_start(&config, &err);
    if (!a)
        return fail(&err);
    snprintf(url, sizeof(url), "https://127.0.0.1:%d", apiserver_port(a));
    snprintf(kubeconfig, sizeof(kubeconfig), "%s/admin.yaml", dir);
    if (apiserver_write_kubeconfig(a, kubeconfig, url, "admin", groups, &err) < 0)
        return fail(&err);
    printf("READY %d %s\n", apiserver_port(a), kubeconfig);
    fflush(stdout);
    sigwait(stop, &signal_number);
    apiserver_stop(a);
    return 0;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    char store[512];
    sigset_t stop;
    if (argc != 2)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    snprintf(store, sizeof(store), "%s/db", argv[1]);
    mkdir(store, 0700);
    struct storage *storage =
        storage_open_embedded(&(struct storage_embedded_config){ .dir = store }, &err);
    if (!storage)
        return fail(&err);
    int rc = serve(argv[1], storage, &stop);
    storage_close(storage);
    return rc;
}
