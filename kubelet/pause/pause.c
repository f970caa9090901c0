/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.c - holds a pod's namespaces: sleeps, reaps orphans, ends on SIGTERM or SIGINT.
 *
 * Runs without a C library, so that the image is a few kilobytes: four system calls and a start
 * symbol.  Signals are blocked and fetched: a blocked signal is queued even for process 1, which
 * has no default actions.
 */
#include <linux/signal.h>
#include <sys/syscall.h>

#define WNOHANG 1

static long call4(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#else
#error "pause: add this processor's system call sequence"
#endif
}

__attribute__((noreturn)) void _start(void);

void _start(void)
{
    unsigned long all = ~0ul;
    call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, 0, sizeof(all));
    for (;;) {
        long signal = call4(SYS_rt_sigtimedwait, (long)&all, 0, 0, sizeof(all));
        if (signal == SIGTERM || signal == SIGINT)
            break;
        if (signal == SIGCHLD)
            while (call4(SYS_wait4, -1, 0, WNOHANG, 0) > 0)
                ;
    }
    for (;;)
        call4(SYS_exit_group, 0, 0, 0, 0);
}
