/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_check.c - walks the pages of an LMDB 0.9 file. */
#include "storage/lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/mapped.h"
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
#define TREE_DEPTH     3 /* trees of some thousand leaves are walked by several threads */
#define THREADS_MAX    4

/* LMDB does not write a page that a transaction takes and frees again: as many of them may be
 * missing behind the end of the file. */
#define UNWRITTEN_PAGES_MAX (UINT64_C(1) << 24)

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

/* A tree of pages whose keys are not below FLOOR, and all below CEILING unless that is empty. */
struct tree {
    struct table *table;
    uint64_t page;
    int depth; /* 1: a leaf */
    struct bytes floor, ceiling;
};

struct table {
    char name[TABLE_NAME_MAX]; /* empty: the table of tables, or of free pages */
    bool is_free_list;
    uint64_t expected_entries;
    _Atomic uint64_t entries;
    struct tree tree;
    struct table *next;
};

struct checker {
    const char *data;
    size_t len, page_bytes;
    uint64_t pages_n; /* in the file; the last ones of the database may not be */
    struct meta meta;
    _Atomic uint8_t *seen; /* a bit for each page */
    struct table *tables;  /* with names */
    struct tree *trees;    /* to be walked by whoever comes first */
    size_t trees_n, trees_capacity;
    atomic_size_t next_tree;
    atomic_bool has_failed;
};

/* What one thread found. */
struct walk {
    struct checker *ck;
    struct error *err;
    uint64_t sum, stored_sum;
    bool has_sum, is_helper;
};

struct node {
    struct node_head head;
    struct bytes key;
    const char *value; /* what follows the key in the page */
    size_t room;       /* from there to the page's end */
};

static int corrupt(struct walk *w, uint64_t page, const char *what)
{
    return error_set(w->err, ERR_IO, "the database is corrupt: page %llu: %s",
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
static int claim(struct walk *w, uint64_t page, uint64_t n)
{
    struct checker *ck = w->ck;
    if (page < FIRST_PAGE || n > ck->meta.last_page || page > ck->meta.last_page + 1 - n)
        return corrupt(w, page, "out of range");
    for (uint64_t i = page; i < page + n; i++) {
        uint8_t bit = (uint8_t)(1 << i % 8);
        if (atomic_fetch_or_explicit(&ck->seen[i / 8], bit, memory_order_relaxed) & bit)
            return corrupt(w, i, "used twice");
    }
    return 0;
}

/* The same, of pages that are read. */
static int claim_written(struct walk *w, uint64_t page, uint64_t n)
{
    if (claim(w, page, n) < 0)
        return -1;
    return page + n <= w->ck->pages_n ? 0 : corrupt(w, page, "the file ends before it");
}

static int open_page(struct walk *w, uint64_t page, uint16_t flags, struct page_head *head)
{
    if (claim_written(w, page, 1) < 0)
        return -1;
    memcpy(head, page_at(w->ck, page), sizeof(*head));
    if (head->id != page || head->flags != flags)
        return corrupt(w, page, "not the page that should be here");
    size_t lower = head->lower, upper = head->upper;
    if (lower <= sizeof(*head) || lower % 2 || upper < lower || upper > w->ck->page_bytes)
        return corrupt(w, page, "its bounds are wrong");
    return 0;
}

static int open_node(struct walk *w, uint64_t page, const struct page_head *head, size_t i,
                     struct node *out)
{
    const struct checker *ck = w->ck;
    const char *start = page_at(ck, page);
    uint16_t offset;
    memcpy(&offset, start + sizeof(*head) + 2 * i, sizeof(offset));
    if (offset < head->upper || offset % 2 || offset + sizeof(out->head) > ck->page_bytes)
        return corrupt(w, page, "a node is out of bounds");
    memcpy(&out->head, start + offset, sizeof(out->head));
    size_t after = offset + sizeof(out->head) + out->head.key_len;
    if (after > ck->page_bytes)
        return corrupt(w, page, "a key is out of bounds");
    out->key = (struct bytes){ start + offset + sizeof(out->head), out->head.key_len };
    out->value = start + after;
    out->room = ck->page_bytes - after;
    return 0;
}

static int compare_keys(const struct table *t, struct bytes a, struct bytes b)
{
    if (!t->is_free_list)
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
        return len <= n->room ? 0 : corrupt(w, page, "a value is out of bounds");
    uint64_t big;
    *in_page = sizeof(big);
    if (n->room < sizeof(big))
        return corrupt(w, page, "a value is out of bounds");
    memcpy(&big, n->value, sizeof(big));
    uint64_t pages = (sizeof(struct page_head) + len + ck->page_bytes - 1) / ck->page_bytes;
    if (claim_written(w, big, pages) < 0)
        return -1;
    struct page_head head;
    memcpy(&head, page_at(ck, big), sizeof(head));
    if (head.id != big || head.flags != PAGE_OVERFLOW ||
        (head.lower | (uint64_t)head.upper << 16) != pages)
        return corrupt(w, big, "not the value that should be here");
    value->data = page_at(ck, big) + sizeof(head);
    return 0;
}

static int set_tree(struct walk *w, struct table *t, const struct table_head *head)
{
    bool is_empty = head->root == NO_PAGE;
    if (head->depth > DEPTH_MAX || is_empty != (head->depth == 0))
        return corrupt(w, 0, "a table's depth is wrong");
    t->expected_entries = head->entries;
    t->tree = (struct tree){ .table = t, .page = head->root, .depth = head->depth };
    return 0;
}

static int check_free_pages(struct walk *w, uint64_t page, struct bytes value)
{
    uint64_t n, free_page;
    if (value.len < sizeof(n))
        return corrupt(w, page, "a list of free pages is too short");
    memcpy(&n, value.data, sizeof(n));
    if (n > value.len / sizeof(n) - 1)
        return corrupt(w, page, "a list of free pages is too short");
    for (uint64_t i = 1, last = NO_PAGE; i <= n; i++, last = free_page) {
        memcpy(&free_page, value.data + i * sizeof(n), sizeof(free_page));
        if (free_page >= last)
            return corrupt(w, page, "a list of free pages is not in order");
        if (claim(w, free_page, 1) < 0)
            return -1;
    }
    return 0;
}

static int check_named_table(struct walk *w, uint64_t page, const struct node *n,
                             struct bytes value)
{
    struct table_head head;
    struct table *t = xcalloc(1, sizeof(*t));
    t->next = w->ck->tables;
    w->ck->tables = t;
    if (n->head.flags != NODE_TABLE || value.len != sizeof(head) || !n->key.len ||
        n->key.len >= sizeof(t->name))
        return corrupt(w, page, "a row that is not a table");
    memcpy(&head, value.data, sizeof(head));
    memcpy(t->name, n->key.data, n->key.len);
    if (head.flags != 0)
        return corrupt(w, page, "a table of an unknown kind");
    return set_tree(w, t, &head);
}

static int check_row(struct walk *w, const struct tree *t, const struct node *n, size_t *in_page)
{
    struct bytes value;
    const char *name = t->table->name;
    if (check_value(w, t->page, n, &value, in_page) < 0)
        return -1;
    if (t->table->is_free_list)
        return check_free_pages(w, t->page, value);
    if (!*name)
        return check_named_table(w, t->page, n, value);
    if (n->head.flags & ~NODE_BIG)
        return corrupt(w, t->page, "a row of an unknown kind");
    if (strcmp(name, LMDB_SUM_TABLE) != 0 || !bytes_equal(n->key, LMDB_SUM_KEY)) {
        w->sum += lmdb_row_sum(name, n->key, value);
        return 0;
    }
    if (value.len != sizeof(w->stored_sum))
        return corrupt(w, t->page, "the sum of all rows has another length");
    memcpy(&w->stored_sum, value.data, sizeof(w->stored_sum));
    w->has_sum = true;
    return 0;
}

/* ---- trees ---- */

static int check_tree(struct walk *w, const struct tree *t);

/* Trees that are not deep are left to whoever has time. */
static void leave_tree(struct checker *ck, const struct tree *t)
{
    ck->trees = xgrow(ck->trees, ck->trees_n, &ck->trees_capacity, sizeof(ck->trees[0]));
    ck->trees[ck->trees_n++] = *t;
}

static int check_order(struct walk *w, const struct tree *t, struct bytes key, struct bytes before)
{
    if (t->table->is_free_list && key.len != sizeof(uint64_t))
        return corrupt(w, t->page, "a key has another length");
    bool is_first = !before.data;
    struct bytes least = is_first ? t->floor : before;
    if ((least.data && compare_keys(t->table, key, least) < !is_first) ||
        (t->ceiling.data && compare_keys(t->table, key, t->ceiling) >= 0))
        return corrupt(w, t->page, "keys are not in order");
    return 0;
}

static int check_leaf(struct walk *w, const struct tree *t, const struct page_head *head,
                      size_t *used)
{
    size_t n = (head->lower - sizeof(*head)) / 2;
    struct bytes before = { 0 };
    for (size_t i = 0; i < n; i++) {
        struct node node;
        size_t in_page;
        if (open_node(w, t->page, head, i, &node) < 0 || check_order(w, t, node.key, before) < 0 ||
            check_row(w, t, &node, &in_page) < 0)
            return -1;
        before = node.key;
        *used += (sizeof(node.head) + node.key.len + in_page + 1) & ~(size_t)1;
    }
    atomic_fetch_add_explicit(&t->table->entries, n, memory_order_relaxed);
    return 0;
}

static uint64_t child_page(const struct node *n)
{
    return n->head.low | (uint64_t)n->head.high << 16 | (uint64_t)n->head.flags << 32;
}

/* The children of a branch begin where its keys say; the first key is never looked at. */
static int check_branch(struct walk *w, const struct tree *t, const struct page_head *head,
                        size_t *used)
{
    size_t n = (head->lower - sizeof(*head)) / 2;
    struct node node, next;
    if (open_node(w, t->page, head, 0, &node) < 0)
        return -1;
    struct tree child = { .table = t->table, .depth = t->depth - 1, .floor = t->floor };
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n;
        if (!is_last && (open_node(w, t->page, head, i + 1, &next) < 0 ||
                         check_order(w, t, next.key, i ? node.key : (struct bytes){ 0 }) < 0))
            return -1;
        child.page = child_page(&node);
        child.ceiling = is_last ? t->ceiling : next.key;
        if (check_tree(w, &child) < 0)
            return -1;
        *used += (sizeof(node.head) + node.key.len + 1) & ~(size_t)1;
        node = next;
        child.floor = next.key;
    }
    return 0;
}

static int check_page(struct walk *w, const struct tree *t)
{
    struct page_head head;
    size_t used = 0;
    bool is_leaf = t->depth == 1;
    if (open_page(w, t->page, is_leaf ? PAGE_LEAF : PAGE_BRANCH, &head) < 0 ||
        (is_leaf ? check_leaf(w, t, &head, &used) : check_branch(w, t, &head, &used)) < 0)
        return -1;
    return used == w->ck->page_bytes - head.upper ? 0
                                                  : corrupt(w, t->page, "its nodes do not fill it");
}

static int check_tree(struct walk *w, const struct tree *t)
{
    bool is_left = t->depth <= TREE_DEPTH && *t->table->name && !w->is_helper;
    if (is_left)
        leave_tree(w->ck, t);
    return is_left ? 0 : check_page(w, t);
}

/* ---- threads ---- */

struct helper {
    pthread_t thread;
    struct walk walk;
    struct error err;
};

static void *help(void *arg)
{
    struct helper *h = arg;
    struct checker *ck = h->walk.ck;
    size_t i;
    while (!atomic_load(&ck->has_failed) && (i = atomic_fetch_add(&ck->next_tree, 1)) < ck->trees_n)
        if (check_tree(&h->walk, &ck->trees[i]) < 0)
            atomic_store(&ck->has_failed, true);
    return NULL;
}

/* Walks what is left; the caller is one of the threads. */
static int check_trees(struct walk *w)
{
    struct helper helpers[THREADS_MAX];
    size_t processors = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = processors < THREADS_MAX ? processors : THREADS_MAX;
    if (!w->ck->trees_n)
        return 0;
    if (wanted > w->ck->trees_n)
        wanted = w->ck->trees_n;
    size_t n = 0;
    for (; n < wanted; n++) {
        helpers[n] = (struct helper){ .walk = { .ck = w->ck, .is_helper = true } };
        helpers[n].walk.err = &helpers[n].err;
        if (n && pthread_create(&helpers[n].thread, NULL, help, &helpers[n]) != 0)
            break; /* the others do its work */
    }
    help(&helpers[0]);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (i)
            pthread_join(helpers[i].thread, NULL);
        w->sum += helpers[i].walk.sum;
        if (helpers[i].walk.has_sum) {
            w->has_sum = true;
            w->stored_sum = helpers[i].walk.stored_sum;
        }
        if (helpers[i].err.code) {
            *w->err = helpers[i].err;
            rc = -1;
        }
    }
    return rc;
}

/* ---- the file ---- */

static int read_meta(struct walk *w, size_t at, struct meta *out)
{
    const struct checker *ck = w->ck;
    struct page_head head;
    if (ck->len < at + sizeof(head) + sizeof(*out))
        return corrupt(w, at != 0, "the file ends in it");
    memcpy(&head, ck->data + at, sizeof(head));
    memcpy(out, ck->data + at + sizeof(head), sizeof(*out));
    if (!(head.flags & PAGE_META) || out->magic != MAGIC || out->version != FORMAT)
        return corrupt(w, at != 0, "not the head of a database");
    return 0;
}

static int lacks_pages(struct walk *w)
{
    return error_set(w->err, ERR_IO, "the database is corrupt: the file ends before its last page");
}

/* Commits take turns in writing the two; the younger counts. */
static int choose_meta(struct walk *w)
{
    struct checker *ck = w->ck;
    struct meta metas[2];
    if (read_meta(w, 0, &metas[0]) < 0)
        return -1;
    ck->page_bytes = metas[0].free.pad;
    if (ck->page_bytes < PAGE_BYTES_MIN || ck->page_bytes > PAGE_BYTES_MAX ||
        ck->page_bytes % PAGE_BYTES_MIN)
        return corrupt(w, 0, "pages of an odd size");
    if (read_meta(w, ck->page_bytes, &metas[1]) < 0)
        return -1;
    ck->meta = metas[metas[0].txn < metas[1].txn];
    if (metas[1].free.pad != ck->page_bytes ||
        (ck->meta.free.flags & ~FILE_WAS_NAMED) != TABLE_INTEGERS || ck->meta.main.flags != 0)
        return corrupt(w, 0, "the heads do not agree");
    ck->pages_n = ck->len / ck->page_bytes;
    if (ck->meta.last_page < FIRST_PAGE - 1)
        return corrupt(w, 0, "there is no page behind the heads");
    return ck->meta.last_page < ck->pages_n + UNWRITTEN_PAGES_MAX ? 0 : lacks_pages(w);
}

static int check_table(struct walk *w, struct table *t, const struct table_head *head)
{
    if (set_tree(w, t, head) < 0 || (t->tree.depth && check_tree(w, &t->tree) < 0))
        return -1;
    return t->entries == t->expected_entries ? 0 : corrupt(w, 0, "a table has lost rows");
}

static int check_entries(struct walk *w)
{
    for (struct table *t = w->ck->tables; t; t = t->next)
        if (t->entries != t->expected_entries)
            return corrupt(w, 0, "a table has lost rows");
    return 0;
}

/* What is not in the file is free. */
static int check_unwritten(struct walk *w)
{
    const struct checker *ck = w->ck;
    for (uint64_t page = ck->pages_n; page <= ck->meta.last_page; page++)
        if (!(ck->seen[page / 8] & 1 << page % 8))
            return lacks_pages(w);
    return 0;
}

static int check_all(struct walk *w)
{
    struct checker *ck = w->ck;
    struct table main = { 0 }, free_list = { .is_free_list = true };
    if (choose_meta(w) < 0)
        return -1;
    ck->seen = xcalloc(ck->meta.last_page / 8 + 1, 1);
    if (check_table(w, &main, &ck->meta.main) < 0 || check_table(w, &free_list, &ck->meta.free) < 0)
        return -1;
    for (struct table *t = ck->tables; t; t = t->next)
        if (t->tree.depth && check_tree(w, &t->tree) < 0)
            return -1;
    if (check_trees(w) < 0 || check_entries(w) < 0)
        return -1;
    return check_unwritten(w);
}

static void checker_deinit(struct checker *ck)
{
    while (ck->tables) {
        struct table *next = ck->tables->next;
        free(ck->tables);
        ck->tables = next;
    }
    free(ck->trees);
    free((void *)ck->seen);
}

/* Trees are walked in the order of keys; a disk is faster in its own. */
static void read_ahead(void *data, size_t len)
{
    if (len / sysconf(_SC_PAGESIZE) < (size_t)sysconf(_SC_PHYS_PAGES) / 2)
        madvise(data, len, MADV_WILLNEED);
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
    struct mapped *map = mapped_new(data, (size_t)st.st_size, (struct bytes){ 0 }, err);
    if (!map) {
        munmap(data, (size_t)st.st_size);
        return -1;
    }
    read_ahead(data, (size_t)st.st_size);
    struct checker ck = { .data = data, .len = (size_t)st.st_size };
    struct walk w = { .ck = &ck, .err = err };
    int rc = check_all(&w);
    checker_deinit(&ck);
    bool is_unreadable = mapped_is_torn(map);
    mapped_end(map);
    munmap(data, (size_t)st.st_size);
    if (is_unreadable)
        return error_set(err, ERR_IO, "the disk cannot read %s", path);
    out->has_sum = w.has_sum;
    out->sum = w.sum;
    if (rc == 0 && w.has_sum && w.sum != w.stored_sum)
        return error_set(err, ERR_IO,
                         "the database is corrupt: the sum over its rows is not the one it holds");
    return rc;
}
