/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multi.c - the program inside the test images: serves, echoes, eats memory, dies, ignores signals.
 *
 *     multi http [PORT]      GET /          the host's name
 *                                /env/NAME  an environment variable
 *                                /file/PATH a file's content
 *                                /client    the address the request came from
 *                                /healthz   200, or 500 after /fail (and 200 again after /heal)
 *                                /exit/N    ends the process with status N
 *     multi udp [PORT]       answers every datagram with the host's name
 *     multi memory MIB       touches that much memory, then sleeps
 *     multi exit STATUS [S]  ends with STATUS after S seconds
 *     multi stubborn         says which signals arrive and stays
 *     multi sleep            sleeps until SIGTERM
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX 4096
#define FILE_BYTES_MAX    (1 << 20)

static int is_failing;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void on_term(int number)
{
    (void)number;
    _exit(0);
}

static int listen_on(int type, int port)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
        fail("bind");
    if (type == SOCK_STREAM && listen(fd, 128) < 0)
        fail("listen");
    return fd;
}

static void answer(int fd, int status, const char *text)
{
    dprintf(fd,
            "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: "
            "close\r\n\r\n%s",
            status, status == 200 ? "OK" : "Error", strlen(text), text);
}

static void answer_file(int fd, const char *path)
{
    static char text[FILE_BYTES_MAX];
    FILE *f = fopen(path, "r");
    if (!f) {
        answer(fd, 404, "no such file\n");
        return;
    }
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    answer(fd, 200, text);
}

static void answer_path(int fd, const char *path, const char *client)
{
    char text[512];
    gethostname(text, sizeof(text) - 2);
    strcat(text, "\n");
    if (strncmp(path, "/env/", 5) == 0) {
        const char *value = getenv(path + 5);
        answer(fd, value ? 200 : 404, value ? value : "not set\n");
    } else if (strncmp(path, "/file/", 6) == 0) {
        answer_file(fd, path + 5);
    } else if (strcmp(path, "/client") == 0) {
        answer(fd, 200, client);
    } else if (strcmp(path, "/healthz") == 0) {
        answer(fd, is_failing ? 500 : 200, is_failing ? "failing\n" : "ok\n");
    } else if (strcmp(path, "/fail") == 0 || strcmp(path, "/heal") == 0) {
        is_failing = strcmp(path, "/fail") == 0;
        answer(fd, 200, "ok\n");
    } else if (strncmp(path, "/exit/", 6) == 0) {
        answer(fd, 200, "bye\n");
        exit(atoi(path + 6));
    } else {
        answer(fd, 200, text);
    }
}

static void serve_http(int port)
{
    int listener = listen_on(SOCK_STREAM, port);
    printf("listening on %d\n", port);
    for (;;) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        int fd = accept4(listener, (struct sockaddr *)&from, &from_len, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct timeval limit = { .tv_sec = 5 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        char request[REQUEST_BYTES_MAX], path[1024] = "", client[INET_ADDRSTRLEN + 2];
        ssize_t n = read(fd, request, sizeof(request) - 1);
        inet_ntop(AF_INET, &from.sin_addr, client, INET_ADDRSTRLEN);
        strcat(client, "\n");
        request[n > 0 ? n : 0] = '\0';
        if (sscanf(request, "GET %1023s", path) == 1) {
            printf("GET %s\n", path);
            answer_path(fd, path, client);
        }
        close(fd);
    }
}

static void serve_udp(int port)
{
    int fd = listen_on(SOCK_DGRAM, port);
    char in[1024], name[256];
    gethostname(name, sizeof(name) - 2);
    strcat(name, "\n");
    for (;;) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        if (recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len) >= 0)
            sendto(fd, name, strlen(name), 0, (struct sockaddr *)&from, from_len);
    }
}

static void eat_memory(size_t mib)
{
    for (size_t i = 0; i < mib; i++) {
        char *block = malloc(1 << 20);
        if (!block)
            fail("malloc");
        memset(block, (int)i + 1, 1 << 20);
    }
    printf("holding %zu MiB\n", mib);
    pause();
}

static void say_signal(int number)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "got %s\n", strsignal(number));
    if (write(1, text, (size_t)n) < 0)
        _exit(1);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "http";
    int number = argc > 2 ? atoi(argv[2]) : 8080;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, on_term); /* as process 1 the default action would be to ignore it */
    signal(SIGINT, on_term);

    if (strcmp(command, "http") == 0) {
        serve_http(number);
    } else if (strcmp(command, "udp") == 0) {
        serve_udp(number);
    } else if (strcmp(command, "memory") == 0) {
        eat_memory((size_t)number);
    } else if (strcmp(command, "exit") == 0) {
        sleep(argc > 3 ? (unsigned)atoi(argv[3]) : 0);
        return number;
    } else if (strcmp(command, "stubborn") == 0) {
        signal(SIGTERM, say_signal);
        signal(SIGINT, say_signal);
        for (;;)
            pause();
    } else if (strcmp(command, "sleep") == 0) {
        for (;;)
            pause();
    } else {
        fprintf(stderr, "multi: unknown command %s\n", command);
        return 2;
    }
    return 0;
}
