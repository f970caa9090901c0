/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - UTF-8 checks. */
#include "base/utf8.h"

bool utf8_is_valid(struct bytes text)
{
    const char *p = text.data, *end = p + text.len;
    while (p < end) {
        uint64_t word;
        if (end - p >= 8) { /* eight ASCII bytes at once: nearly all text is that */
            memcpy(&word, p, 8);
            if (!(word & UINT64_C(0x8080808080808080))) {
                p += 8;
                continue;
            }
        }
        size_t n = utf8_sequence(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}
