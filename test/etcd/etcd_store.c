/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_store.c - a bare store with etcd's API and nothing else: what is compared with etcd.
 *
 *     etcd_store DIR ADDRESS [PORT [QUOTA_BYTES [PROGRESS_MS]]]     ADDRESS may be unix:/path
 *
 * Prints "ready PORT" and ends on SIGTERM.
 */
#include <signal.h>
#include <unistd.h>

#include "storage/storage.h"

static int die(const struct error *err)
{
    fprintf(stderr, "etcd_store: %s\n", err->message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: etcd_store DIR ADDRESS [PORT [QUOTA_BYTES [PROGRESS_MS]]]\n");
        return 2;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    struct error err = { 0 };
    struct storage_embedded_config embedded = {
        .dir = argv[1],
        .compact_interval_ms = -1,
        .keeps_alarm = true,
        .quota_bytes = argc > 4 ? strtoull(argv[4], NULL, 10) : 0,
    };
    struct storage *s = storage_open_embedded(&embedded, &err);
    if (!s)
        return die(&err);
    struct storage_etcd_config config = {
        .storage = s,
        .bind_address = argv[2],
        .port = argc > 3 ? atoi(argv[3]) : 0,
        .scratch_dir = argv[1],
        .progress_notify_interval_ms = argc > 5 ? atoi(argv[5]) : 0,
    };
    struct storage_etcd_server *server = storage_etcd_start(&config, &err);
    if (!server)
        return die(&err);
    printf("ready %d\n", storage_etcd_port(server));
    fflush(stdout);
    int got;
    sigwait(&signals, &got);
    storage_etcd_stop(server);
    storage_close(s);
    return 0;
}
