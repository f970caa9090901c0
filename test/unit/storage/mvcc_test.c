/* SPDX-License-Identifier: Apache-2.0 */
/* mvcc_test.c - random histories against a model, through flushes, compactions and restarts. */
#include "test/unit/storage/fixture.h"

#include <fcntl.h>

#include "base/clock.h"

#define KEYS      12
#define KEY_BYTES 2048
#define VALUE_MAX 6000
#define STEPS     3000
#define REVISIONS (STEPS + 2)

static char long_text[1000];

/* model[r][k]: the value of key k as of revision r, 0: none. */
static int model[REVISIONS][KEYS];

/* How many bytes all keys begin with: more than fit in a row's name, or a few. */
static int shared_bytes;

/* Of many lengths, around where keys stop to fit in a row's name. */
static const char *key_name(size_t k, char buf[KEY_BYTES])
{
    static const int tail[KEYS] = { 0, 494, 495, 496, 497, 498, 505, 506, 900, 0, 10, 3 };
    snprintf(buf, KEY_BYTES, "key-%0*d%02zu%.*s", shared_bytes, 0, k, tail[k % KEYS], long_text);
    return buf;
}

/* Some lie in a row and some apart. */
static size_t value_text(int value, char buf[VALUE_MAX])
{
    static const int width[] = { 0, 700, 1400, 1950, 2048, 5000 };
    return (size_t)snprintf(buf, VALUE_MAX, "%-*d", width[value % 6], value);
}

static void step(struct fixture *f, struct rng *rng, int value)
{
    char name[KEY_BYTES], end[KEY_BYTES];
    size_t k = rng_below(rng, KEYS);
    int64_t before = storage_revision(f->s);
    int next[KEYS];
    memcpy(next, model[before], sizeof(next));
    struct storage_op op = { .key = bytes_of(key_name(k, name)) };
    char text[VALUE_MAX];
    if (rng_below(rng, 3)) {
        op.type = STORAGE_PUT;
        op.value = (struct bytes){ text, value_text(value, text) };
        next[k] = value;
    } else {
        size_t last = k + rng_below(rng, 4);
        op.type = STORAGE_DELETE;
        op.end = bytes_of(key_name(last + 1, end));
        for (size_t i = k; i <= last && i < KEYS; i++)
            next[i] = 0;
    }
    int64_t after = apply_op(f, &op, NULL);
    bool did_change = memcmp(next, model[before], sizeof(next)) != 0;
    assert_int_equal(after, before + did_change);
    memcpy(model[after], next, sizeof(next));
}

static void check(struct fixture *f, int64_t revision)
{
    char from[KEY_BYTES], text[VALUE_MAX];
    struct storage_range_result out = range(f, key_name(0, from), "l", revision);
    size_t i = 0;
    for (size_t k = 0; k < KEYS; k++) {
        if (!model[revision][k])
            continue;
        assert_true(i < out.n);
        assert_string_equal(out.kvs[i].key.data, key_name(k, from));
        assert_int_equal(out.kvs[i].value.len, value_text(model[revision][k], text));
        assert_string_equal(out.kvs[i].value.data, text);
        struct storage_range_result one = range(f, from, NULL, revision);
        assert_int_equal(one.n, 1);
        assert_int_equal(one.kvs[0].mod_revision, out.kvs[i].mod_revision);
        i++;
    }
    assert_int_equal(i, out.n);
    assert_int_equal(i, out.count);
}

static void random_history(struct fixture *f, uint64_t seed)
{
    struct rng rng;
    struct error err = { 0 };
    seeded_rng_init(&rng, seed);
    memset(long_text, 't', sizeof(long_text) - 1);
    memset(model, 0, sizeof(model));
    for (int i = 1; i <= STEPS; i++) {
        step(f, &rng, i);
        int64_t now = storage_revision(f->s), compacted = storage_compacted_revision(f->s);
        int64_t oldest = compacted ? compacted : 1;
        check(f, oldest + (int64_t)rng_below(&rng, (uint64_t)(now - oldest + 1)));
        if (rng_below(&rng, 50) == 0 && now > oldest)
            assert_int_equal(
                storage_compact(f->s, oldest + 1 + (int64_t)rng_below(&rng, now - oldest), &err),
                0);
        if (rng_below(&rng, 200) == 0)
            reopen(f);
        if (rng_below(&rng, 20) == 0)
            failpoints_set(rng_below(&rng, 2) ? "storage.index.freeze=error" : NULL);
        arena_reset(f->arena);
    }
    struct storage_status status;
    assert_int_equal(storage_status(f->s, &status, &err), 0);
    assert_int_equal(status.keys, range(f, "key", "l", 0).count);
}

static void random_histories_read_as_the_model_says(void **state)
{
    shared_bytes = 1;
    random_history(*state, 1);
}

static void long_keys_with_one_beginning_read_as_the_model_says(void **state)
{
    shared_bytes = 700;
    random_history(*state, 7);
}

static void long_keys_find_a_place_in_any_order(void **state)
{
    struct fixture *f = *state;
    enum { N = 400 };
    struct error err = { 0 };
    char key[KEY_BYTES];
    failpoints_set("storage.index.freeze=error"); /* each goes to the database by itself */
    for (int i = 0; i < N; i++) {
        /* Always between the first and its neighbour, so that there is no room for labels soon. */
        int number = i ? N - i : 0;
        snprintf(key, sizeof(key), "key-%0900d%04d", 0, number);
        put(f, key, "x");
    }
    failpoints_set(NULL);
    assert_int_equal(storage_defragment(f->s, &err), 0);
    struct storage_range_result out = range(f, "key", "l", 0);
    assert_int_equal(out.n, N);
    for (size_t i = 1; i < out.n; i++)
        assert_true(bytes_compare(out.kvs[i - 1].key, out.kvs[i].key) < 0);
    for (size_t i = 0; i < out.n; i++)
        assert_int_equal(range(f, out.kvs[i].key.data, NULL, 0).n, 1);
}

static void another_random_history_reads_as_the_model_says(void **state)
{
    shared_bytes = 1;
    random_history(*state, 20261120);
}

/* ---- counts ---- */

#define COUNTED 6000

/* Some are long and begin like others. */
static struct bytes counted_key(struct fixture *f, int i)
{
    return bytes_of(i % 7 == 0 && i > COUNTED / 2 ? arena_printf(f->arena, "c%0900d%05d", 0, i)
                                                  : arena_printf(f->arena, "b%05d", i));
}

/* In the order of keys: the long ones lie behind the others. */
static int rank(int i)
{
    return i % 7 == 0 && i > COUNTED / 2 ? COUNTED + i : i;
}

static void check_count(struct fixture *f, const bool *is_there, int from, int to, int64_t limit)
{
    struct error err = { 0 };
    int64_t expected = 0;
    for (int i = 0; i < COUNTED; i++)
        expected += is_there[i] && rank(i) >= rank(from) && rank(i) < rank(to);
    struct storage_range r = {
        .key = counted_key(f, from), .end = counted_key(f, to), .limit = limit, .count_only = !limit
    };
    struct storage_range_result out;
    assert_int_equal(storage_range(f->s, &r, f->arena, &out, &err), 0);
    assert_int_equal(out.count, expected);
    assert_int_equal(out.n, limit < expected ? limit : expected);
    assert_int_equal(out.more, limit && expected > limit);
}

static void write_some(struct fixture *f, struct rng *rng, bool *is_there)
{
    enum { OPS = 60 };
    struct storage_op ops[OPS];
    int start = (int)rng_below(rng, COUNTED), step = 1 + (int)rng_below(rng, 5);
    bool is_put = rng_below(rng, 5) > 1;
    for (int i = 0; i < OPS; i++) {
        int k = (start + i * step) % COUNTED;
        ops[i] = (struct storage_op){ .type = is_put ? STORAGE_PUT : STORAGE_DELETE,
                                      .key = counted_key(f, k) };
        is_there[k] = is_put;
    }
    apply(f, &(struct storage_txn){ .success = ops, .success_n = OPS }, NULL);
}

static void counts_are_right_however_the_keys_lie(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    bool is_there[COUNTED] = { false };
    struct rng rng;
    seeded_rng_init(&rng, 11);
    for (int i = 0; i < 700; i++) {
        write_some(f, &rng, is_there);
        if (i % 40 == 0)
            failpoints_set(i % 80 ? "storage.index.freeze=error" : NULL);
        if (i % 300 == 299)
            assert_int_equal(storage_compact(f->s, storage_revision(f->s), &err), 0);
        if (i % 200 == 150)
            reopen(f);
        for (int ranges = 0; ranges < 4; ranges++) {
            int from = (int)rng_below(&rng, COUNTED), to = (int)rng_below(&rng, COUNTED);
            check_count(f, is_there, from, to, (int64_t)rng_below(&rng, 3) * 10);
        }
        arena_reset(f->arena);
    }
}

/* ---- every version ---- */

struct seen {
    int64_t revision, sub;
    size_t n;
};

static int see(const struct storage_version *v, void *arg, struct error *err)
{
    (void)err;
    struct seen *s = arg;
    assert_true(v->kv.mod_revision > s->revision ||
                (v->kv.mod_revision == s->revision && v->sub > s->sub));
    s->revision = v->kv.mod_revision;
    s->sub = v->sub;
    s->n++;
    return 0;
}

/* More keys than are put in order at a time. */
static void every_version_of_many_keys_comes_in_the_order_it_was_written(void **state)
{
    enum { OPS = 3000, TXNS = 100 };
    struct fixture *f = *state;
    struct error err = { 0 };
    scoped(mem) void *ops_mem = xcalloc(OPS, sizeof(struct storage_op));
    struct storage_op *ops = ops_mem;
    for (int t = 0; t < TXNS; t++) {
        for (int i = 0; i < OPS; i++) {
            int number =
                (int)((i * TXNS + t) * INT64_C(7919) % (OPS * TXNS)); /* not in the order of keys */
            ops[i] = (struct storage_op){ .type = STORAGE_PUT,
                                          .key = bytes_of(arena_printf(f->arena, "%d", number)) };
        }
        apply(f, &(struct storage_txn){ .success = ops, .success_n = OPS }, NULL);
        arena_reset(f->arena);
    }
    assert_int_equal(storage_compact(f->s, storage_revision(f->s), &err), 0);
    put(f, "later", "1");
    put(f, "later", "2");
    struct seen seen = { 0 };
    struct storage_history history;
    assert_int_equal(storage_each_version(f->s, 0, &history, see, &seen, &err), 0);
    assert_int_equal(seen.n, OPS * TXNS + 2);
    assert_int_equal(seen.revision, storage_revision(f->s));
}

/* ---- damage ---- */

static void flip_byte(const struct fixture *f, const char *file, const char *needle)
{
    scoped(str) char *path = xasprintf("%s/%s", f->dir, file);
    scoped(file) FILE *h = fopen(path, "r+");
    assert_non_null(h);
    fseek(h, 0, SEEK_END);
    size_t n = (size_t)ftell(h);
    rewind(h);
    scoped(mem) void *data = xmalloc(n);
    assert_int_equal(fread(data, 1, n, h), n);
    char *at = memmem(data, n, needle, strlen(needle));
    assert_non_null(at);
    fseek(h, at - (char *)data, SEEK_SET);
    fputc(*at ^ 1, h);
}

/* As after a kill: the frame that ends a log which was closed in order is not there. */
static void tear_off(const struct fixture *f, const char *file, const char *from)
{
    scoped(str) char *path = xasprintf("%s/%s", f->dir, file);
    scoped(fd) int fd = open(path, O_RDWR);
    char data[64 << 10] = { 0 };
    ssize_t n = pread(fd, data, sizeof(data), 0);
    assert_true(n > 0);
    char *at = memmem(data, (size_t)n, from, strlen(from));
    assert_non_null(at);
    memset(at, 0, (size_t)(data + n - at));
    assert_int_equal(pwrite(fd, data, (size_t)n, 0), n);
}

static void a_torn_end_of_the_log_is_forgotten(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "whole");
    put(f, "b", "last-value");
    storage_close(f->s);
    f->s = NULL;
    tear_off(f, "log.1", "last-value");
    reopen(f);
    assert_int_equal(storage_revision(f->s), 2);
    assert_int_equal(put(f, "b", "again"), 3);
    reopen(f);
    assert_int_equal(range(f, "a", "z", 0).n, 2);
}

static void assert_is_corrupt(const struct fixture *f)
{
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = f->dir };
    assert_null(storage_open_embedded(&config, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.message, "corrupt"));
}

static void damage_in_the_middle_of_the_log_is_reported(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "first-value");
    put(f, "b", "second");
    storage_close(f->s);
    f->s = NULL;
    flip_byte(f, "log.1", "first-value");
    assert_is_corrupt(f);
}

static void damage_to_the_last_write_is_reported_if_the_store_was_closed(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "first");
    put(f, "b", "last-value");
    storage_close(f->s);
    f->s = NULL;
    flip_byte(f, "log.1", "last-value");
    assert_is_corrupt(f);
}

static void a_database_older_than_its_log_is_reported(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    scoped(str) char *copy = xasprintf("cp %s/data.mdb %s/kept", f->dir, f->dir);
    scoped(str) char *back = xasprintf("cp %s/kept %s/data.mdb", f->dir, f->dir);
    put(f, "a", "1");
    assert_int_equal(storage_defragment(f->s, &err), 0);
    assert_int_equal(system(copy), 0);
    for (int i = 0; i < 3; i++) {
        put(f, "a", "2");
        assert_int_equal(storage_defragment(f->s, &err), 0);
    }
    put(f, "a", "3");
    storage_close(f->s);
    f->s = NULL;
    assert_int_equal(system(back), 0);
    assert_is_corrupt(f);
}

static void a_log_without_its_database_is_reported(void **state)
{
    struct fixture *f = *state;
    scoped(str) char *path = xasprintf("%s/data.mdb", f->dir);
    put(f, "a", "1");
    storage_close(f->s);
    f->s = NULL;
    assert_int_equal(unlink(path), 0);
    assert_is_corrupt(f);
}

static void damage_in_the_database_is_reported(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    put(f, "a", "some-unusual-value");
    assert_int_equal(storage_defragment(f->s, &err), 0);
    storage_close(f->s);
    f->s = NULL;
    flip_byte(f, "data.mdb", "some-unusual-value");
    assert_is_corrupt(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(random_histories_read_as_the_model_says),
        T(another_random_history_reads_as_the_model_says),
        T(long_keys_with_one_beginning_read_as_the_model_says),
        T(long_keys_find_a_place_in_any_order),
        T(counts_are_right_however_the_keys_lie),
        T(every_version_of_many_keys_comes_in_the_order_it_was_written),
        T(a_torn_end_of_the_log_is_forgotten),
        T(damage_in_the_middle_of_the_log_is_reported),
        T(damage_to_the_last_write_is_reported_if_the_store_was_closed),
        T(a_database_older_than_its_log_is_reported),
        T(a_log_without_its_database_is_reported),
        T(damage_in_the_database_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
