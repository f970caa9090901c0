/* SPDX-License-Identifier: Apache-2.0 */
/* failpoint.c - parses CORACLE_FAILPOINTS and acts on it. */
#include "base/failpoint.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum action { ACTION_CRASH, ACTION_ERROR, ACTION_NO_SPACE, ACTION_DELAY, ACTION_HOLD };

#define NAME_BYTES_MAX 64

static struct point {
    char name[NAME_BYTES_MAX];
    enum action action;
    long delay_ms;
    long at; /* 0: every time */
    long hits, held;
} points[FAILPOINTS_MAX];
static size_t points_n;
static unsigned long times_set;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the points */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

atomic_bool failpoints_enabled;

static bool parse_point(const char *text, struct point *p)
{
    char action[16];
    int used = 0;
    p->at = 0;
    p->delay_ms = 0;
    if (sscanf(text, "%63[^=]=%15[a-z]%n", p->name, action, &used) != 2)
        return false;
    text += used;
    if (*text == ':')
        p->delay_ms = strtol(text + 1, (char **)&text, 10);
    if (*text == '@')
        p->at = strtol(text + 1, (char **)&text, 10);
    if (*text && *text != ',')
        return false;
    p->hits = p->held = 0;
    if (strcmp(action, "crash") == 0)
        p->action = ACTION_CRASH;
    else if (strcmp(action, "error") == 0)
        p->action = ACTION_ERROR;
    else if (strcmp(action, "nospace") == 0)
        p->action = ACTION_NO_SPACE;
    else if (strcmp(action, "delay") == 0)
        p->action = ACTION_DELAY;
    else if (strcmp(action, "hold") == 0)
        p->action = ACTION_HOLD;
    else
        return false;
    return true;
}

void failpoints_set(const char *text)
{
    pthread_mutex_lock(&lock);
    points_n = 0;
    while (text && *text) {
        if (points_n == FAILPOINTS_MAX || !parse_point(text, &points[points_n])) {
            /* A test with a misspelt failpoint must not pass by testing nothing. */
            fprintf(stderr, "CORACLE_FAILPOINTS: cannot read \"%s\"\n", text);
            exit(2);
        }
        points_n++;
        text = strchr(text, ',');
        text = text ? text + 1 : NULL;
    }
    atomic_store(&failpoints_enabled, points_n > 0);
    times_set++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void read_environment(void)
{
    failpoints_set(getenv("CORACLE_FAILPOINTS"));
}

/* LOCK is held, and left while it waits. */
static void hold(struct point *p)
{
    unsigned long since = times_set;
    p->held++;
    pthread_cond_broadcast(&changed);
    while (times_set == since)
        pthread_cond_wait(&changed, &lock);
}

/* Does NAME's action apply this time? */
static bool is_due(const char *name, struct point *out)
{
    bool due = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < points_n && !due; i++) {
        struct point *p = &points[i];
        if (strcmp(p->name, name) != 0)
            continue;
        p->hits++;
        due = !p->at || p->at == p->hits;
        *out = *p;
        if (due && p->action == ACTION_HOLD)
            hold(p);
    }
    pthread_mutex_unlock(&lock);
    return due;
}

bool failpoint_hit(const char *name)
{
    struct point p;
    if (!is_due(name, &p))
        return false;
    struct timespec t = { p.delay_ms / 1000, p.delay_ms % 1000 * 1000000 };
    switch (p.action) {
    case ACTION_CRASH:
        kill(getpid(), SIGKILL);
        for (;;) /* the signal is on its way: nothing may run after this place */
            pause();
    case ACTION_ERROR:
        errno = EIO;
        return true;
    case ACTION_NO_SPACE:
        errno = ENOSPC;
        return true;
    case ACTION_DELAY:
        nanosleep(&t, NULL);
        break;
    case ACTION_HOLD: /* it is over */
        break;
    }
    return false;
}

static long count_held(const char *name)
{
    for (size_t i = 0; i < points_n; i++)
        if (strcmp(points[i].name, name) == 0)
            return points[i].held;
    return 0;
}

void failpoint_await(const char *name)
{
    pthread_mutex_lock(&lock);
    while (!count_held(name))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
