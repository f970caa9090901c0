/* SPDX-License-Identifier: Apache-2.0 */
/* pause_program.c - the bytes of kubelet/pause/pause.c's program, which the build makes first. */
#include "kubelet/pause_image.h"

__asm__(".section .rodata\n"
        ".global pause_program_start\n"
        ".global pause_program_end\n"
        "pause_program_start:\n"
        ".incbin \"" CORACLE_PAUSE_PROGRAM "\"\n"
        "pause_program_end:\n"
        ".previous\n");

extern const char pause_program_start[], pause_program_end[];

struct bytes pause_program(void)
{
    return (struct bytes){ pause_program_start, (size_t)(pause_program_end - pause_program_start) };
}
