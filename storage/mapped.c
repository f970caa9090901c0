/* SPDX-License-Identifier: Apache-2.0 */
/* mapped.c - the handler of bus errors. */
#include "storage/mapped.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define MAPS_MAX         256 /* at a time: some per store, and those of failed databases */
#define BLANK_BYTES_MAX  64
#define GATE_INTERVAL_NS 100000

/* A place in the table is used again, and never freed: the handler may look at any at any time. */
struct mapped {
    atomic_uintptr_t start, end; /* 0: free */
    atomic_bool is_torn;
    atomic_bool is_written; /* by a call that is under way: see mapped_trap_begin() */
    char blank[BLANK_BYTES_MAX];
    size_t blank_len;
};

static struct mapped maps[MAPS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards which are free */
static struct sigaction previous;
static size_t page_bytes;
static _Thread_local struct mapped_trap *current;

static struct mapped *find_map(uintptr_t address)
{
    for (size_t i = 0; i < MAPS_MAX; i++)
        if (address >= atomic_load(&maps[i].start) && address < atomic_load(&maps[i].end))
            return &maps[i];
    return NULL;
}

/* In one step: others read there. */
static bool put_blank_page(const struct mapped *m, uintptr_t address)
{
    char *blank =
        mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blank == MAP_FAILED)
        return false;
    memcpy(blank, m->blank, m->blank_len);
    void *page = (void *)(address - address % page_bytes); // NOLINT(performance-no-int-to-ptr)
    return mprotect(blank, page_bytes, PROT_READ) == 0 &&
           mremap(blank, page_bytes, page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, page) == page;
}

/* The call that the gate waits for needs nothing of this thread: it is in the library. */
static bool tear(struct mapped *m, uintptr_t address)
{
    atomic_store(&m->is_torn, true);
    while (atomic_load(&m->is_written))
        nanosleep(&(struct timespec){ .tv_nsec = GATE_INTERVAL_NS }, NULL);
    return put_blank_page(m, address);
}

/* Without our handler: the instruction fails again when it is repeated, what was sent is sent. */
static void leave_to_previous(int signal, const siginfo_t *info)
{
    sigaction(SIGBUS, &previous, NULL);
    if (info->si_code <= 0)
        raise(signal);
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *interrupted = context;
    int kept = errno;
    bool is_access = info->si_code > 0;
    struct mapped *m = is_access ? find_map((uintptr_t)info->si_addr) : NULL;
    struct mapped_trap *t = current;
    if (is_access && t && (!t->map || t->map == m)) {
        t->fault = info->si_addr;
        pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL); /* as a return would */
        siglongjmp(t->back, MAPPED_UNREADABLE);
    }
    if (!m || !tear(m, (uintptr_t)info->si_addr))
        leave_to_previous(signal, info);
    errno = kept;
}

static void set_handler(void)
{
    struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    ensure(sigaction(SIGBUS, &action, &previous) == 0);
}

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;

struct mapped *mapped_new(const void *start, size_t len, struct bytes blank, struct error *err)
{
    ensure(blank.len <= BLANK_BYTES_MAX);
    pthread_once(&handler_once, set_handler);
    struct mapped *m = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAPS_MAX && !m; i++)
        if (!atomic_load(&maps[i].end))
            m = &maps[i];
    if (m) {
        atomic_store(&m->is_torn, false);
        m->blank_len = blank.len;
        if (blank.len)
            memcpy(m->blank, blank.data, blank.len);
        atomic_store(&m->start, (uintptr_t)start);
        atomic_store(&m->end, (uintptr_t)start + len);
    } else {
        error_set(err, ERR_UNAVAILABLE, "more than %d files are mapped", MAPS_MAX);
    }
    pthread_mutex_unlock(&lock);
    return m;
}

void mapped_end(struct mapped *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&lock);
    atomic_store(&m->end, 0);
    atomic_store(&m->start, 0);
    pthread_mutex_unlock(&lock);
}

bool mapped_is_torn(const struct mapped *m)
{
    return atomic_load(&m->is_torn);
}

/* Either the handler sees that the map is being written and waits, or the call that it is torn. */
bool mapped_trap_begin(struct mapped_trap *t, struct mapped *map, enum mapped_use use)
{
    pthread_once(&handler_once, set_handler);
    ensure(!current);
    t->map = map;
    t->use = use;
    if (map && use == MAPPED_READ_AND_WRITE)
        atomic_store(&map->is_written, true);
    current = t;
    if (!map || !mapped_is_torn(map))
        return true;
    mapped_trap_end(t);
    return false;
}

void mapped_trap_end(struct mapped_trap *t)
{
    current = NULL;
    if (t->map && t->use == MAPPED_READ_AND_WRITE)
        atomic_store(&t->map->is_written, false);
}

struct mapped_trap *mapped_trap_current(void)
{
    return current;
}
