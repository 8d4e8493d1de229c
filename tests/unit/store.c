/*
 * store.c: one suite for every store, and a random run of all side by side.
 */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tap.h"
#include "base/clock.h"
#include "store/store_internal.h"

#define MAP_BYTES (UINT64_C(1) << 30)

static char dir[] = "/tmp/govfs-store-XXXXXX";
static const char *kind; /* of the store under test, for test names */

/* A file of the store on disk; static. */
static const char *
file_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/db/%s", dir, name);
	return path;
}

static void
remove_store(void)
{
	(void)unlink(file_of("data.mdb"));
	(void)unlink(file_of("lock.mdb"));
	(void)unlink(file_of("stamp"));
	(void)unlink(file_of("lock"));
	(void)rmdir(file_of(""));
}

static struct store *
open_lmdb(uint64_t map_bytes)
{
	struct store *s = NULL;
	int err;

	err = store_open_lmdb(file_of(""), map_bytes, &s);
	if (err != 0)
		bail_out("store_open_lmdb: %s", strerror(-err));
	return s;
}

static struct store *
open_mem(void)
{
	struct store *s;

	if (store_open_mem(&s) != 0)
		bail_out("store_open_mem");
	return s;
}

static bool
has(struct store_txn *t, const char *key, const char *value)
{
	struct slice got;

	if (!store_get(t, slice_str(key), &got))
		return value == NULL;
	return value != NULL && slice_eq(got, slice_str(value));
}

static void
put(struct store_txn *t, const char *key, const char *value)
{
	store_put(t, slice_str(key), slice_str(value));
}

static bool
seeks(struct store_txn *t, const char *from, bool after, const char *want)
{
	struct slice key, value;

	if (!store_seek(t, slice_str(from), after, &key, &value))
		return want == NULL;
	return want != NULL && slice_eq(key, slice_str(want));
}

/* Kept equals computed anew. */
static bool
digest_right(struct store_txn *t)
{
	uint8_t kept[STORE_DIGEST_LEN], anew[STORE_DIGEST_LEN];

	store_digest(t, kept);
	store_digest_scan(t, anew);
	return memcmp(kept, anew, sizeof(kept)) == 0;
}

static void
digest_of(struct store *s, uint8_t ret[STORE_DIGEST_LEN])
{
	struct store_txn *t = store_begin(s, STORE_READ);

	store_digest(t, ret);
	store_abort(t);
}

static void
test_map(struct store *s)
{
	struct store_txn *t = store_begin(s, STORE_WRITE);

	ok(has(t, "a", NULL), "%s: a new store is empty", kind);
	ok(seeks(t, "", false, NULL), "%s: and has no first key", kind);
	put(t, "b", "2");
	put(t, "a", "1");
	put(t, "ab", "");
	ok(has(t, "a", "1") && has(t, "ab", ""),
	    "%s: a transaction sees its own puts", kind);
	is_int(store_commit(t), 0, "%s: commit", kind);

	t = store_begin(s, STORE_READ);
	ok(seeks(t, "", false, "a"), "%s: the first key", kind);
	ok(seeks(t, "a", false, "a"), "%s: seek to a key finds it", kind);
	ok(seeks(t, "a", true, "ab"), "%s: seek after it, the next", kind);
	ok(seeks(t, "aa", true, "ab"), "%s: seek after an absent key", kind);
	ok(seeks(t, "ac", false, "b"), "%s: a prefix is before", kind);
	ok(seeks(t, "b", true, NULL), "%s: after the last is nothing", kind);
	ok(seeks(t, "\xff", false, NULL), "%s: nor beyond", kind);
	is_int(store_commit(t), 0, "%s: a reader may commit", kind);

	t = store_begin(s, STORE_WRITE);
	put(t, "a", "changed");
	store_del(t, slice_str("b"));
	store_del(t, slice_str("absent"));
	ok(has(t, "a", "changed") && has(t, "b", NULL),
	    "%s: del and overwrite are seen", kind);
	store_abort(t);
	t = store_begin(s, STORE_READ);
	ok(has(t, "a", "1") && has(t, "b", "2"), "%s: abort undoes", kind);
	ok(digest_right(t), "%s: the digest too", kind);
	store_abort(t);
	store_abort(NULL);
	pass("aborting NULL is fine");
}

static void
test_isolation(struct store *s)
{
	struct store_txn *before, *writer, *after;

	before = store_begin(s, STORE_READ);
	writer = store_begin(s, STORE_WRITE);
	put(writer, "a", "new");
	store_del(writer, slice_str("b"));
	put(writer, "c", "new");
	ok(has(before, "a", "1") && has(before, "b", "2"),
	    "%s: a reader does not see an open transaction", kind);
	is_int(store_commit(writer), 0, "%s: commit beside a reader", kind);
	after = store_begin(s, STORE_READ);
	ok(has(before, "a", "1") && seeks(before, "ab", true, "b"),
	    "%s: a reader keeps the state of its begin", kind);
	ok(has(after, "a", "new") && seeks(after, "ab", true, "c"),
	    "%s: a later one sees the new", kind);
	store_abort(before);
	store_abort(after);
	for (int i = 0; i < 1000; i++) {
		after = store_begin(s, STORE_READ);
		if (!has(after, "a", "new"))
			break;
		store_abort(after);
		after = NULL;
	}
	ok(after == NULL, "%s: a thousand readers, one by one", kind);
}

static void
test_digest(struct store *s)
{
	uint8_t empty[STORE_DIGEST_LEN], one[STORE_DIGEST_LEN];
	uint8_t now[STORE_DIGEST_LEN];
	static const uint8_t zero[STORE_DIGEST_LEN];
	/* python3: hashlib.blake2b(b"\4\0\0\0 repx", digest_size=32,
	 * person=b"govfs digest 1") */
	static const uint8_t rep_x[STORE_DIGEST_LEN] = {
		0x3c, 0x15, 0x68, 0xf3, 0x33, 0x4f, 0xce, 0x29,
		0xf5, 0x83, 0x7c, 0xcb, 0x76, 0xcd, 0xe1, 0x0b,
		0x7a, 0x92, 0xe0, 0xb2, 0xd5, 0xf9, 0x4d, 0x8d,
		0x4e, 0x99, 0x08, 0xa6, 0x84, 0x6c, 0x75, 0xf2,
	};
	struct store_txn *t;

	is_int(store_clear(s), 0, "%s: clear", kind);
	digest_of(s, empty);
	is_mem(empty, zero, sizeof(zero), "%s: of nothing it is zero", kind);

	t = store_begin(s, STORE_WRITE);
	store_put(t, slice_of("\x01local", 6), slice_str("x"));
	store_put(t, slice_of("\x1flocal", 6), slice_str("x"));
	store_digest(t, now);
	is_mem(now, empty, sizeof(now), "%s: local families are not in it",
	    kind);
	store_put(t, slice_of("\x20rep", 4), slice_str("x"));
	store_digest(t, one);
	is_mem(one, rep_x, sizeof(one),
	    "%s: others are, every version counts them alike", kind);
	ok(digest_right(t), "%s: kept equals scanned", kind);
	is_int(store_commit(t), 0, "%s: commit", kind);
	digest_of(s, now);
	is_mem(now, one, sizeof(now), "%s: a commit keeps it", kind);

	t = store_begin(s, STORE_WRITE);
	put(t, "ab", "c");
	store_digest(t, now);
	store_del(t, slice_str("ab"));
	put(t, "a", "bc");
	store_digest(t, empty);
	ok(memcmp(now, empty, sizeof(now)) != 0,
	    "%s: where the key ends matters", kind);
	store_del(t, slice_str("a"));
	put(t, " rep", "y");
	put(t, " rep", "x");
	store_digest(t, now);
	is_mem(now, one, sizeof(now), "%s: what is undone leaves no trace",
	    kind);
	ok(seeks(t, "", false, "\x01local"), "%s: its own key is hidden",
	    kind);
	store_abort(t);
}

static void
test_borrowed(struct store *s)
{
	enum { BIG = 4 << 20 };
	uint8_t *big = malloc(BIG);
	struct store_txn *t = store_begin(s, STORE_WRITE);
	struct slice key, value, copy;
	uint64_t start;

	for (size_t i = 0; i < BIG; i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	start = clock_now_ns();
	store_put(t, slice_str("big"), slice_of(big, BIG));
	diag("%s: 4 MiB put in %llu us", kind,
	    (unsigned long long)(clock_now_ns() - start) / 1000);
	ok(store_get(t, slice_str("big"), &value), "%s: 4 MiB fit", kind);
	store_put(t, slice_str("copy"), value);
	ok(store_get(t, slice_str("copy"), &copy) &&
	    slice_eq(copy, slice_of(big, BIG)),
	    "%s: a borrowed value may be put elsewhere", kind);
	put(t, "small", "value that is moved");
	store_get(t, slice_str("small"), &value);
	store_put(t, slice_str("copy"), value);
	ok(has(t, "copy", "value that is moved"), "%s: a small one too", kind);
	for (int i = 0; store_seek(t, slice_str("!"), false, &key, &value);
	     i++)
		store_del(t, key);
	ok(seeks(t, "!", false, NULL), "%s: a borrowed key may be deleted",
	    kind);
	ok(digest_right(t), "%s: the digest follows", kind);
	is_int(store_commit(t), 0, "%s: commit", kind);
	free(big);
}

static void
test_limits(struct store *s)
{
	uint8_t key[STORE_KEY_MAX];
	struct slice value;
	struct store_txn *t = store_begin(s, STORE_WRITE);

	memset(key, 'k', sizeof(key));
	store_put(t, slice_of(key, sizeof(key)), SLICE_EMPTY);
	ok(store_get(t, slice_of(key, sizeof(key)), &value) && value.len == 0,
	    "%s: the longest key, with no value", kind);
	store_abort(t);
}

static void
number_key(uint32_t n, uint8_t ret[5])
{
	ret[0] = STORE_REPLICATED;
	for (unsigned i = 0; i < 4; i++)
		ret[1 + i] = (uint8_t)(n >> (24 - 8 * i));
}

/* More keys, and more bytes, than a transaction keeps at hand. */
static void
test_many(struct store *s)
{
	enum { N = 6000 };
	static uint8_t bytes[1024];
	struct store_txn *t;
	struct slice value;
	uint8_t key[5];
	bool right = true;

	is_int(store_clear(s), 0, "%s: clear", kind);
	for (unsigned round = 0; round < 3; round++) {
		t = store_begin(s, STORE_WRITE);
		for (uint32_t n = 0; n < N; n++) {
			number_key(n, key);
			memset(bytes, (int)(n + round), sizeof(bytes));
			store_put(t, slice_of(key, sizeof(key)),
			    slice_of(bytes, 1 + (n + 100 * round) % 300));
		}
		for (uint32_t n = 0; n < N; n++) {
			number_key(n, key);
			right = right && store_get(t,
			    slice_of(key, sizeof(key)), &value) &&
			    value.len == 1 + (n + 100 * round) % 300 &&
			    *(const uint8_t *)value.ptr ==
			    (uint8_t)(n + round);
			if (n % 3 == round)
				store_del(t, slice_of(key, sizeof(key)));
		}
		right = right && digest_right(t);
		right = store_commit(t) == 0 && right;
	}
	ok(right, "%s: thousands of keys in a transaction", kind);
	t = store_begin(s, STORE_WRITE);
	for (uint32_t n = 0; n < N; n++)
		store_put(t, slice_of(key, sizeof(key)),
		    slice_of(&n, sizeof(n)));
	ok(digest_right(t), "%s: and thousands of values of one", kind);
	is_int(store_commit(t), 0, "%s: commit", kind);
	is_int(store_clear(s), 0, "%s: clear", kind);
}

static int
fail_commit(struct store_txn *t)
{
	t->store->ops->abort(t);
	return -EIO;
}

/* What one transaction has kept at hand is the next one's, once committed. */
static void
test_next(struct store *s)
{
	const struct store_ops *ops = s->ops;
	struct store_ops failing = *ops;
	struct store_txn *t = store_begin(s, STORE_WRITE);

	put(t, "a", "1");
	is_int(store_commit(t), 0, "%s: commit", kind);
	t = store_begin(s, STORE_WRITE);
	put(t, "a", "2");
	put(t, "b", "2");
	store_abort(t);
	t = store_begin(s, STORE_WRITE);
	ok(has(t, "a", "1") && has(t, "b", NULL) && digest_right(t),
	    "%s: the next sees nothing of one that was aborted", kind);
	put(t, "a", "3");
	store_del(t, slice_str("b"));
	failing.commit = fail_commit;
	s->ops = &failing;
	is_int(store_commit(t), -EIO, "%s: a commit fails", kind);
	s->ops = ops;
	t = store_begin(s, STORE_WRITE);
	ok(has(t, "a", "1") && digest_right(t),
	    "%s: the next sees nothing of it", kind);
	put(t, "a", "4");
	put(t, "b", "4");
	is_int(store_commit(t), 0, "%s: commit", kind);
	t = store_begin(s, STORE_WRITE);
	store_del(t, slice_str("a"));
	put(t, "b", "5");
	ok(digest_right(t), "%s: the digest follows from one to the next",
	    kind);
	is_int(store_commit(t), 0, "%s: commit", kind);
	t = store_begin(s, STORE_WRITE);
	ok(has(t, "a", NULL) && has(t, "b", "5") && digest_right(t),
	    "%s: the next sees all of one that was committed", kind);
	store_abort(t);
	is_int(store_clear(s), 0, "%s: clear", kind);
	t = store_begin(s, STORE_WRITE);
	ok(has(t, "b", NULL) && digest_right(t),
	    "%s: a cleared store has nothing to know", kind);
	store_abort(t);
}

static void
test_suite(const char *name, struct store *s)
{
	kind = name;
	test_map(s);
	test_isolation(s);
	test_digest(s);
	test_borrowed(s);
	test_limits(s);
	test_many(s);
	test_next(s);
	store_close(s);
}

static void
test_reopen(void)
{
	struct store *s = open_lmdb(MAP_BYTES);
	struct store_txn *t;
	uint8_t before[STORE_DIGEST_LEN], after[STORE_DIGEST_LEN];

	is_int(store_clear(s), 0, "lmdb: clear");
	t = store_begin(s, STORE_WRITE);
	put(t, "kept", "value");
	is_int(store_commit(t), 0, "lmdb: commit");
	digest_of(s, before);
	store_close(s);
	s = open_lmdb(MAP_BYTES);
	t = store_begin(s, STORE_READ);
	ok(has(t, "kept", "value"), "lmdb: a store opened again has all");
	store_digest(t, after);
	is_mem(after, before, sizeof(after), "lmdb: and its digest");
	store_abort(t);
	store_close(s);
	remove_store();
}

static void
test_full(void)
{
	struct store *s = open_lmdb(256 << 10);
	struct store_txn *t = store_begin(s, STORE_WRITE);
	static uint8_t big[1 << 20];
	struct slice key, value;

	put(t, "a", "1");
	is_int(store_error(t), 0, "full: not yet");
	store_put(t, slice_str("big"), slice_of(big, sizeof(big)));
	is_int(store_error(t), -ENOSPC, "full: a full map is ENOSPC");
	put(t, "b", "2");
	ok(has(t, "a", NULL) && has(t, "b", NULL),
	    "full: later calls do nothing");
	ok(!store_seek(t, SLICE_EMPTY, false, &key, &value),
	    "full: seeks neither");
	is_int(store_commit(t), -ENOSPC, "full: commit reports the first");
	t = store_begin(s, STORE_WRITE);
	ok(has(t, "a", NULL), "full: nothing of it was kept");
	put(t, "a", "1");
	is_int(store_commit(t), 0, "full: the store goes on");
	store_close(s);
	remove_store();
}

/* Twenty times what the map had at first. */
static void
test_grow(void)
{
	enum { MAP = 1 << 20, VALUE = 100000, N = 200 };
	struct store *s = open_lmdb(MAP);
	static uint8_t bytes[VALUE];
	struct store_txn *t, *reader = NULL;
	struct slice value;
	uint8_t key[5];
	int err = 0;

	for (uint32_t n = 0; err == 0 && n < N; n++) {
		/* Growing waits for who reads; he must not see it. */
		if (n == 3)
			reader = store_begin(s, STORE_READ);
		number_key(n, key);
		memset(bytes, (int)n, sizeof(bytes));
		t = store_begin(s, STORE_WRITE);
		store_put(t, slice_of(key, sizeof(key)),
		    slice_of(bytes, sizeof(bytes)));
		err = store_commit(t);
		if (n == 5) {
			number_key(1, key);
			ok(store_get(reader, slice_of(key, sizeof(key)),
			    &value) && *(const uint8_t *)value.ptr == 1,
			    "grow: a reader keeps what it sees");
			store_abort(reader);
		}
	}
	is_int(err, 0, "grow: the map grows with what is in it");
	store_close(s);
	s = open_lmdb(MAP);
	t = store_begin(s, STORE_WRITE);
	ok(digest_right(t), "grow: all of it is there when opened again");
	put(t, "more", "1");
	is_int(store_commit(t), 0, "grow: and it takes more");
	store_close(s);
	remove_store();
}

static void
put_one(const char *key)
{
	struct store *s = open_lmdb(MAP_BYTES);
	struct store_txn *t = store_begin(s, STORE_WRITE);

	put(t, key, "value");
	if (store_commit(t) != 0)
		bail_out("commit");
	store_close(s);
}

static bool
kept(const char *key)
{
	struct store *s = open_lmdb(MAP_BYTES);
	struct store_txn *t = store_begin(s, STORE_READ);
	bool found = has(t, key, "value");

	store_abort(t);
	store_close(s);
	return found;
}

/* The process ends without a word, as by kill -9. */
static void
crash_after(const char *key)
{
	pid_t pid = fork();
	struct store *s;
	struct store_txn *t;
	int status;

	if (pid == 0) {
		s = open_lmdb(MAP_BYTES);
		t = store_begin(s, STORE_WRITE);
		put(t, key, "value");
		if (store_commit(t) != 0)
			_exit(1);
		t = store_begin(s, STORE_WRITE);
		put(t, "unfinished", "value");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		bail_out("fork");
}

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		bail_out("%s: %s", path, strerror(errno));
}

static void
test_one_process(void)
{
	struct store *s = open_lmdb(MAP_BYTES), *second;
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(-store_open_lmdb(file_of(""), MAP_BYTES, &second));
	(void)waitpid(pid, &status, 0);
	is_int(WEXITSTATUS(status), EBUSY, "open: one process at a time");
	store_close(s);
}

static void
test_stamp(void)
{
	char text[256];

	put_one("a");
	ok(kept("a"), "stamp: a clean stop keeps all");
	crash_after("b");
	ok(kept("a") && kept("b"), "stamp: so does a crash of the process");
	ok(!kept("unfinished"), "stamp: but what was not committed");
	write_file(file_of("stamp"), "format 4 boot 0 mount 0 device 0:0\n");
	ok(!kept("a"), "stamp: after a crash of the machine it is empty");
	put_one("a");
	(void)unlink(file_of("stamp"));
	ok(!kept("a"), "stamp: in doubt too");
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	put_one("a");
	write_file(file_of("data.mdb"), text);
	ok(!kept("a"), "stamp: what LMDB cannot read is built anew");
	put_one("a");
	ok(kept("a"), "stamp: and then used");
	write_file(file_of("stamp"), "format 0 clean\n");
	ok(!kept("a"), "stamp: what another version laid out is built anew");
	remove_store();
}

/* One byte of each copy on the disk becomes another: LMDB keeps old pages. */
static bool
spoil(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "r+");
	uint8_t *all = malloc(1 << 20), *at = all;
	size_t n = fread(all, 1, 1 << 20, f);
	bool found = false;

	while ((at = memmem(at, (size_t)(all + n - at), bytes, len)) != NULL) {
		found = true;
		(void)fseek(f, at - all + (long)len / 2, SEEK_SET);
		(void)fputc(at[len / 2] ^ 1, f);
		at += len;
	}
	free(all);
	return fclose(f) == 0 && found;
}

static void
test_rot(void)
{
	static uint8_t big[20000];
	struct store *s = open_lmdb(MAP_BYTES);
	struct store_txn *t = store_begin(s, STORE_WRITE);

	memset(big, 'r', sizeof(big));
	store_put(t, slice_str("big"), slice_of(big, sizeof(big)));
	put(t, "small", "a value that rots");
	if (store_commit(t) != 0)
		bail_out("commit");
	store_close(s);

	ok(spoil(file_of("data.mdb"), big, 20000), "S4: a long value rots");
	s = open_lmdb(MAP_BYTES);
	t = store_begin(s, STORE_WRITE);
	ok(!digest_right(t), "S4: the scan differs from the kept digest");
	store_put(t, slice_str("big"), slice_of(big, sizeof(big)));
	ok(digest_right(t), "S4: and agrees when it is written again");
	is_int(store_commit(t), 0, "S4: commit");
	store_close(s);

	ok(spoil(file_of("data.mdb"), "a value that rots", 17),
	    "S4: a short one rots");
	s = open_lmdb(MAP_BYTES);
	t = store_begin(s, STORE_READ);
	ok(!digest_right(t), "S4: the scan sees that too");
	store_abort(t);
	store_close(s);
	remove_store();
}

static void
test_open_fails(void)
{
	struct store *s = NULL;

	is_int(store_open_lmdb("/proc/nonsense/db", MAP_BYTES, &s), -ENOENT,
	    "open: a missing parent is ENOENT");
	ok(s == NULL, "open: and gives nothing");
	store_close(NULL);
	pass("closing NULL is fine");
}

/*
 * Random operations on both stores give equal answers, digests and orders.
 */
static uint64_t rng;

static uint32_t
rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 16) % below);
}

static struct slice
rnd_key(uint8_t *ret)
{
	size_t len = 1 + rnd(4);

	/* Few families and letters, so that keys meet and nest. */
	ret[0] = (uint8_t)(0x1e + rnd(4));
	for (size_t i = 1; i < len; i++)
		ret[i] = (uint8_t)(rnd(2) ? rnd(4) : 0xfc + rnd(4));
	if (rnd(50) == 0) {
		memset(ret + 1, 0x80, STORE_KEY_MAX - 1);
		len = STORE_KEY_MAX;
	}
	return slice_of(ret, len);
}

static bool
same_step(struct store_txn *a, struct store_txn *b)
{
	static uint8_t bytes[20000];
	uint8_t key_bytes[STORE_KEY_MAX];
	struct slice key = rnd_key(key_bytes), value;
	struct slice ka = SLICE_EMPTY, kb = SLICE_EMPTY;
	struct slice va = SLICE_EMPTY, vb = SLICE_EMPTY;
	bool after = rnd(2) != 0;
	uint32_t op = rnd(10);

	if (op < 4) {
		/* Short, long, and about where the store treats them apart. */
		value.len = rnd(20) == 0 ? rnd(sizeof(bytes)) : rnd(40);
		if (rnd(10) == 0)
			value.len = (rnd(2) ? 100 : 1000) + rnd(80);
		memset(bytes, (int)rnd(3), sizeof(bytes));
		value.ptr = bytes;
		store_put(a, key, value);
		store_put(b, key, value);
		return true;
	}
	if (op < 7) {
		store_del(a, key);
		store_del(b, key);
		return true;
	}
	if (op < 8)
		return store_get(a, key, &va) == store_get(b, key, &vb) &&
		    slice_eq(va, vb);
	return store_seek(a, key, after, &ka, &va) ==
	    store_seek(b, key, after, &kb, &vb) &&
	    slice_eq(ka, kb) && slice_eq(va, vb);
}

static bool
same_all(struct store_txn *a, struct store_txn *b)
{
	struct slice ka = SLICE_EMPTY, kb = SLICE_EMPTY, va, vb;
	bool after = false, more;

	do {
		more = store_seek(a, ka, after, &ka, &va);
		if (more != store_seek(b, kb, after, &kb, &vb))
			return false;
		if (more && (!slice_eq(ka, kb) || !slice_eq(va, vb)))
			return false;
		after = true;
	} while (more);
	return true;
}

static bool
same_turn(struct store *a, struct store *b)
{
	struct store_txn *ta = store_begin(a, STORE_WRITE);
	struct store_txn *tb = store_begin(b, STORE_WRITE);
	uint8_t da[STORE_DIGEST_LEN], db[STORE_DIGEST_LEN];
	bool same = true;

	for (uint32_t n = rnd(200); same && n > 0; n--)
		same = same_step(ta, tb);
	store_digest(ta, da);
	store_digest(tb, db);
	same = same && memcmp(da, db, sizeof(da)) == 0 && same_all(ta, tb) &&
	    digest_right(ta) && digest_right(tb);
	if (rnd(3) == 0) {
		store_abort(ta);
		store_abort(tb);
		return same;
	}
	return store_commit(ta) == 0 && store_commit(tb) == 0 && same;
}

static void
test_random(void)
{
	const char *given = getenv("GOVFS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : clock_wall_ns();
	struct store *lmdb = open_lmdb(MAP_BYTES), *mem = open_mem();
	struct store_txn *old_lmdb = store_begin(lmdb, STORE_READ);
	struct store_txn *old_mem = store_begin(mem, STORE_READ);
	bool same = true, old_same = true;
	int turn;

	rng = seed | 1;
	diag("GOVFS_SEED=0x%llx", (unsigned long long)seed);
	for (turn = 0; same && turn < 300; turn++) {
		same = same_turn(lmdb, mem);
		if (rnd(10) == 0) {
			old_same &= same_all(old_lmdb, old_mem);
			store_abort(old_lmdb);
			store_abort(old_mem);
			old_lmdb = store_begin(lmdb, STORE_READ);
			old_mem = store_begin(mem, STORE_READ);
		}
		if (rnd(100) == 0) {
			store_abort(old_lmdb);
			store_close(lmdb);
			lmdb = open_lmdb(MAP_BYTES);
			old_lmdb = store_begin(lmdb, STORE_READ);
			store_abort(old_mem);
			old_mem = store_begin(mem, STORE_READ);
		}
	}
	ok(same, "random: lmdb and mem agree in %d turns", turn);
	ok(old_same, "random: their old readers too");
	store_abort(old_lmdb);
	store_abort(old_mem);
	store_close(lmdb);
	store_close(mem);
	remove_store();
}

/*
 * And the one of them as an array does.
 */
enum { PAIRS_MAX = 600, PAIR_VALUE = 1200 };

struct pair {
	uint8_t key[4], value[PAIR_VALUE];
	size_t key_len, len;
};

struct array {
	struct pair pairs[PAIRS_MAX]; /* in the order of keys */
	unsigned n;
};

static struct slice
pair_key(const struct pair *p)
{
	return slice_of(p->key, p->key_len);
}

/* The first at or behind a key. */
static unsigned
array_find(const struct array *a, struct slice key)
{
	unsigned i = 0;

	while (i < a->n && slice_cmp(pair_key(&a->pairs[i]), key) < 0)
		i++;
	return i;
}

static bool
array_has(const struct array *a, unsigned i, struct slice key)
{
	return i < a->n && slice_eq(pair_key(&a->pairs[i]), key);
}

static void
array_put(struct array *a, struct slice key, struct slice value)
{
	unsigned i = array_find(a, key);
	struct pair *p = &a->pairs[i];

	if (!array_has(a, i, key)) {
		if (a->n == PAIRS_MAX)
			bail_out("PAIRS_MAX");
		memmove(p + 1, p, (a->n++ - i) * sizeof(*p));
		memcpy(p->key, key.ptr, key.len);
		p->key_len = key.len;
	}
	memcpy(p->value, value.ptr, value.len);
	p->len = value.len;
}

static void
array_del(struct array *a, struct slice key)
{
	unsigned i = array_find(a, key);
	struct pair *p = &a->pairs[i];

	if (array_has(a, i, key))
		memmove(p, p + 1, (--a->n - i) * sizeof(*p));
}

static bool
array_step(struct array *a, struct store_txn *t)
{
	static uint8_t bytes[PAIR_VALUE];
	uint8_t key_bytes[4] = {(uint8_t)(0x1f + rnd(3)), (uint8_t)rnd(5),
	    (uint8_t)rnd(3), 0};
	struct slice key = slice_of(key_bytes, 1 + rnd(3));
	struct slice value = slice_of(bytes, rnd(3) ? rnd(60) : rnd(1200));
	struct slice got = SLICE_EMPTY, got_key = SLICE_EMPTY;
	unsigned i = array_find(a, key);
	bool after = rnd(2) != 0, found;

	switch (rnd(7)) {
	case 0:
	case 1:
	case 2:
		memset(bytes, (int)rnd(3), value.len);
		array_put(a, key, value);
		store_put(t, key, value);
		return true;
	case 3:
		array_del(a, key);
		store_del(t, key);
		return true;
	case 4:
		if (!array_has(a, i, key))
			return !store_get(t, key, &got);
		return store_get(t, key, &got) &&
		    slice_eq(got, slice_of(a->pairs[i].value,
			a->pairs[i].len));
	default:
		if (after && array_has(a, i, key))
			i++;
		found = store_seek(t, key, after, &got_key, &got);
		if (i == a->n)
			return !found;
		return found && slice_eq(got_key, pair_key(&a->pairs[i])) &&
		    slice_eq(got, slice_of(a->pairs[i].value,
			a->pairs[i].len));
	}
}

static void
test_array(void)
{
	static struct array now, committed;
	struct store *s = open_mem();
	bool same = true;
	int turn;

	for (turn = 0; same && turn < 1000; turn++) {
		struct store_txn *t = store_begin(s, STORE_WRITE);

		for (uint32_t n = rnd(60); same && n > 0; n--)
			same = array_step(&now, t);
		if (rnd(4) == 0)
			same = same && digest_right(t);
		if (rnd(4) == 0) {
			store_abort(t);
			now = committed;
		} else {
			same = store_commit(t) == 0 && same;
			committed = now;
		}
		t = store_begin(s, STORE_READ);
		same = same && digest_right(t);
		store_abort(t);
	}
	ok(same, "random: a store and an array agree in %d turns", turn);
	store_close(s);
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
		bail_out("mkdtemp: %s", strerror(errno));
	test_suite("mem", open_mem());
	test_suite("lmdb", open_lmdb(MAP_BYTES));
	test_reopen();
	test_full();
	test_grow();
	test_one_process();
	test_stamp();
	test_rot();
	test_open_fails();
	test_random();
	test_array();
	if (rmdir(dir) != 0)
		diag("%s is left over", dir);
	return done_testing();
}
