/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_check.c - walks the pages of an LMDB 0.9 file. */
#include "storage/lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/record.h"

/* LMDB's format on 64-bit little-endian machines. */
#define MAGIC          0xBEEFC0DEu
#define FORMAT         1u
#define PAGE_BRANCH    0x01
#define PAGE_LEAF      0x02
#define PAGE_OVERFLOW  0x04
#define PAGE_META      0x08
#define NODE_BIG       0x01   /* the value lies in overflow pages */
#define NODE_TABLE     0x02   /* the value is a table */
#define TABLE_INTEGERS 0x08   /* the flag of the table of free pages */
#define FILE_WAS_NAMED 0x4000 /* beside it: how the file was opened when it was made */
#define NO_PAGE        UINT64_MAX
#define FIRST_PAGE     2
#define DEPTH_MAX      32
#define PAGE_BYTES_MIN 4096
#define PAGE_BYTES_MAX 65536
#define TABLE_NAME_MAX 32

struct page_head {
    uint64_t id;
    uint16_t pad, flags;
    uint16_t lower, upper; /* of an overflow page: a count of pages */
};
struct node_head {
    uint16_t low, high; /* a value's length, or the lower half of a page's number */
    uint16_t flags, key_len;
};
struct table_head {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};
struct meta {
    uint32_t magic, version;
    uint64_t address, map_bytes;
    struct table_head free, main;
    uint64_t last_page, txn;
};
_Static_assert(sizeof(struct page_head) == 16 && sizeof(struct node_head) == 8 &&
                   sizeof(struct table_head) == 48 && sizeof(struct meta) == 136,
               "no padding");

struct checker {
    const char *data;
    size_t len, page_bytes;
    struct meta meta;
    uint8_t *seen; /* a bit for each page */
    struct lmdb_check *out;
    struct error *err;
};

/* One table's walk. */
struct walk {
    struct checker *ck;
    const char *name; /* NULL: the table of tables, or of free pages */
    bool is_free_list;
    uint64_t entries;
    struct bytes last, floor; /* the last key, and what the branch above the next one says */
    bool has_last, has_floor;
};

struct node {
    struct node_head head;
    struct bytes key;
    const char *value; /* what follows the key in the page */
    size_t room;       /* from there to the page's end */
};

static int corrupt(struct checker *ck, uint64_t page, const char *what)
{
    return error_set(ck->err, ERR_IO, "the database is corrupt: page %llu: %s",
                     (unsigned long long)page, what);
}

uint64_t lmdb_row_sum(const char *table, struct bytes key, struct bytes value)
{
    uint32_t k = crc32c(crc32c(0, table, strlen(table)), key.data, key.len);
    uint32_t v = crc32c(~k, value.data, value.len);
    uint64_t x = ((uint64_t)k << 32 | v) + key.len + ((uint64_t)value.len << 20);
    /* Mixed, so that changes of two rows do not cancel out: the sum is a plain one. */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* ---- pages ---- */

static const char *page_at(const struct checker *ck, uint64_t page)
{
    return ck->data + page * ck->page_bytes;
}

/* Marks N pages from PAGE on as used; -1 if one is out of range or used already. */
static int claim(struct checker *ck, uint64_t page, uint64_t n)
{
    if (page < FIRST_PAGE || n > ck->meta.last_page || page > ck->meta.last_page + 1 - n)
        return corrupt(ck, page, "out of range");
    for (uint64_t i = page; i < page + n; i++) {
        if (ck->seen[i / 8] & (1 << i % 8))
            return corrupt(ck, i, "used twice");
        ck->seen[i / 8] |= (uint8_t)(1 << i % 8);
    }
    return 0;
}

static int open_page(struct checker *ck, uint64_t page, uint16_t flags, struct page_head *head)
{
    if (claim(ck, page, 1) < 0)
        return -1;
    memcpy(head, page_at(ck, page), sizeof(*head));
    if (head->id != page || head->flags != flags)
        return corrupt(ck, page, "not the page that should be here");
    size_t lower = head->lower, upper = head->upper;
    if (lower <= sizeof(*head) || lower % 2 || upper < lower || upper > ck->page_bytes)
        return corrupt(ck, page, "its bounds are wrong");
    return 0;
}

static int open_node(struct checker *ck, uint64_t page, const struct page_head *head, size_t i,
                     struct node *out)
{
    const char *start = page_at(ck, page);
    uint16_t offset;
    memcpy(&offset, start + sizeof(*head) + 2 * i, sizeof(offset));
    if (offset < head->upper || offset % 2 || offset + sizeof(out->head) > ck->page_bytes)
        return corrupt(ck, page, "a node is out of bounds");
    memcpy(&out->head, start + offset, sizeof(out->head));
    size_t after = offset + sizeof(out->head) + out->head.key_len;
    if (after > ck->page_bytes)
        return corrupt(ck, page, "a key is out of bounds");
    out->key = (struct bytes){ start + offset + sizeof(out->head), out->head.key_len };
    out->value = start + after;
    out->room = ck->page_bytes - after;
    return 0;
}

static int compare_keys(const struct walk *w, struct bytes a, struct bytes b)
{
    if (!w->is_free_list)
        return bytes_compare(a, b);
    uint64_t x, y;
    memcpy(&x, a.data, sizeof(x));
    memcpy(&y, b.data, sizeof(y));
    return x < y ? -1 : x > y;
}

/* ---- rows ---- */

static int check_value(struct walk *w, uint64_t page, const struct node *n, struct bytes *value,
                       size_t *in_page)
{
    struct checker *ck = w->ck;
    size_t len = n->head.low | (size_t)n->head.high << 16;
    *in_page = len;
    *value = (struct bytes){ n->value, len };
    if (!(n->head.flags & NODE_BIG))
        return len <= n->room ? 0 : corrupt(ck, page, "a value is out of bounds");
    uint64_t big;
    *in_page = sizeof(big);
    if (n->room < sizeof(big))
        return corrupt(ck, page, "a value is out of bounds");
    memcpy(&big, n->value, sizeof(big));
    uint64_t pages = (sizeof(struct page_head) + len + ck->page_bytes - 1) / ck->page_bytes;
    if (claim(ck, big, pages) < 0)
        return -1;
    struct page_head head;
    memcpy(&head, page_at(ck, big), sizeof(head));
    if (head.id != big || head.flags != PAGE_OVERFLOW ||
        (head.lower | (uint64_t)head.upper << 16) != pages)
        return corrupt(ck, big, "not the value that should be here");
    value->data = page_at(ck, big) + sizeof(head);
    return 0;
}

static int check_free_pages(struct walk *w, uint64_t page, struct bytes value)
{
    uint64_t n, free_page;
    if (value.len < sizeof(n))
        return corrupt(w->ck, page, "a list of free pages is too short");
    memcpy(&n, value.data, sizeof(n));
    if (n > value.len / sizeof(n) - 1)
        return corrupt(w->ck, page, "a list of free pages is too short");
    for (uint64_t i = 1, last = NO_PAGE; i <= n; i++, last = free_page) {
        memcpy(&free_page, value.data + i * sizeof(n), sizeof(free_page));
        if (free_page >= last)
            return corrupt(w->ck, page, "a list of free pages is not in order");
        if (claim(w->ck, free_page, 1) < 0)
            return -1;
    }
    return 0;
}

static int check_table(struct checker *ck, const char *name, const struct table_head *head,
                       bool is_free_list);

static int check_named_table(struct walk *w, uint64_t page, const struct node *n,
                             struct bytes value)
{
    struct table_head head;
    char name[TABLE_NAME_MAX];
    if (n->head.flags != NODE_TABLE || value.len != sizeof(head) || n->key.len >= sizeof(name))
        return corrupt(w->ck, page, "a row that is not a table");
    memcpy(&head, value.data, sizeof(head));
    memcpy(name, n->key.data, n->key.len);
    name[n->key.len] = '\0';
    if (head.flags != 0)
        return corrupt(w->ck, page, "a table of an unknown kind");
    return check_table(w->ck, name, &head, false);
}

static int check_row(struct walk *w, uint64_t page, const struct node *n, size_t *in_page)
{
    struct bytes value;
    struct lmdb_check *out = w->ck->out;
    if (check_value(w, page, n, &value, in_page) < 0)
        return -1;
    if (w->is_free_list)
        return check_free_pages(w, page, value);
    if (!w->name)
        return check_named_table(w, page, n, value);
    if (n->head.flags & ~NODE_BIG)
        return corrupt(w->ck, page, "a row of an unknown kind");
    if (strcmp(w->name, LMDB_SUM_TABLE) != 0 || !bytes_equal(n->key, LMDB_SUM_KEY)) {
        out->sum += lmdb_row_sum(w->name, n->key, value);
        return 0;
    }
    if (value.len != sizeof(out->stored_sum))
        return corrupt(w->ck, page, "the sum of all rows has another length");
    memcpy(&out->stored_sum, value.data, sizeof(out->stored_sum));
    out->has_sum = true;
    return 0;
}

/* ---- tables ---- */

/* Keys ascend over the whole table, and none lies before what the branches above it promise. */
static int check_order(struct walk *w, uint64_t page, struct bytes key, bool is_branch)
{
    if (w->is_free_list && key.len != sizeof(uint64_t))
        return corrupt(w->ck, page, "a key has another length");
    if ((w->has_last && compare_keys(w, w->last, key) >= 0) ||
        (w->has_floor && compare_keys(w, w->floor, key) > 0))
        return corrupt(w->ck, page, "keys are not in order");
    w->has_floor = is_branch;
    if (is_branch) {
        w->floor = key;
        return 0;
    }
    w->last = key;
    w->has_last = true;
    w->entries++;
    return 0;
}

static int check_tree(struct walk *w, uint64_t page, int depth);

static int check_node(struct walk *w, uint64_t page, const struct node *n, int depth, bool is_first,
                      size_t *in_page)
{
    bool is_branch = depth > 1;
    /* The first key of a branch is never looked at. */
    if (!(is_branch && is_first) && check_order(w, page, n->key, is_branch) < 0)
        return -1;
    if (!is_branch)
        return check_row(w, page, n, in_page);
    *in_page = 0;
    uint64_t child = n->head.low | (uint64_t)n->head.high << 16 | (uint64_t)n->head.flags << 32;
    return check_tree(w, child, depth - 1);
}

/* DEPTH: 1 for a leaf. */
static int check_tree(struct walk *w, uint64_t page, int depth)
{
    struct checker *ck = w->ck;
    struct page_head head;
    if (open_page(ck, page, depth > 1 ? PAGE_BRANCH : PAGE_LEAF, &head) < 0)
        return -1;
    size_t n = (head.lower - sizeof(head)) / 2, used = 0;
    for (size_t i = 0; i < n; i++) {
        struct node node;
        size_t in_page;
        if (open_node(ck, page, &head, i, &node) < 0 ||
            check_node(w, page, &node, depth, i == 0, &in_page) < 0)
            return -1;
        used += (sizeof(node.head) + node.key.len + in_page + 1) & ~(size_t)1;
    }
    return used == ck->page_bytes - head.upper ? 0 : corrupt(ck, page, "its nodes do not fill it");
}

static int check_table(struct checker *ck, const char *name, const struct table_head *head,
                       bool is_free_list)
{
    struct walk w = { .ck = ck, .name = name, .is_free_list = is_free_list };
    bool is_empty = head->root == NO_PAGE;
    if (head->depth > DEPTH_MAX || is_empty != (head->depth == 0))
        return corrupt(ck, 0, "a table's depth is wrong");
    if (!is_empty && check_tree(&w, head->root, head->depth) < 0)
        return -1;
    return w.entries == head->entries ? 0 : corrupt(ck, 0, "a table has lost rows");
}

/* ---- the file ---- */

static int read_meta(struct checker *ck, size_t at, struct meta *out)
{
    struct page_head head;
    if (ck->len < at + sizeof(head) + sizeof(*out))
        return corrupt(ck, at != 0, "the file ends in it");
    memcpy(&head, ck->data + at, sizeof(head));
    memcpy(out, ck->data + at + sizeof(head), sizeof(*out));
    if (!(head.flags & PAGE_META) || out->magic != MAGIC || out->version != FORMAT)
        return corrupt(ck, at != 0, "not the head of a database");
    return 0;
}

/* Commits take turns in writing the two; the younger counts. */
static int choose_meta(struct checker *ck)
{
    struct meta metas[2];
    if (read_meta(ck, 0, &metas[0]) < 0)
        return -1;
    ck->page_bytes = metas[0].free.pad;
    if (ck->page_bytes < PAGE_BYTES_MIN || ck->page_bytes > PAGE_BYTES_MAX ||
        ck->page_bytes % PAGE_BYTES_MIN)
        return corrupt(ck, 0, "pages of an odd size");
    if (read_meta(ck, ck->page_bytes, &metas[1]) < 0)
        return -1;
    ck->meta = metas[metas[0].txn < metas[1].txn];
    if (metas[1].free.pad != ck->page_bytes ||
        (ck->meta.free.flags & ~FILE_WAS_NAMED) != TABLE_INTEGERS || ck->meta.main.flags != 0)
        return corrupt(ck, 0, "the heads do not agree");
    if (ck->meta.last_page < FIRST_PAGE - 1 || ck->meta.last_page >= ck->len / ck->page_bytes)
        return error_set(ck->err, ERR_IO,
                         "the database is corrupt: the file ends before its last page");
    return 0;
}

static int check_all(struct checker *ck)
{
    if (choose_meta(ck) < 0)
        return -1;
    scoped(mem) void *seen = xcalloc(ck->meta.last_page / 8 + 1, 1);
    ck->seen = seen;
    return check_table(ck, NULL, &ck->meta.main, false) < 0 ||
                   check_table(ck, NULL, &ck->meta.free, true) < 0
               ? -1
               : 0;
}

int lmdb_check_file(const char *path, struct lmdb_check *out, struct error *err)
{
    *out = (struct lmdb_check){ 0 };
    scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT) {
        out->is_new = true;
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "open %s", path);
    if (st.st_size == 0) {
        out->is_new = true;
        return 0;
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return error_errno(err, "read %s", path);
    struct checker ck = { .data = data, .len = (size_t)st.st_size, .out = out, .err = err };
    int rc = check_all(&ck);
    munmap(data, (size_t)st.st_size);
    if (rc == 0 && out->has_sum && out->sum != out->stored_sum)
        return error_set(err, ERR_IO,
                         "the database is corrupt: the sum over its rows is not the one it holds");
    return rc;
}
