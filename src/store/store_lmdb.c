/*
 * store_lmdb.c: the store on disk.
 *
 * Derived state: what is lost with the operating system's cache comes again
 * from the log, so nothing here waits for the disk (MDB_NOSYNC).  Whether a
 * store that is found may be used at all, stamp.h says.
 *
 * A read transaction costs LMDB an entry in its table of readers; the last one
 * ended is kept reset and renewed by the next begin, 0.2 us instead of 1.
 *
 * Neither the map nor the disk may be full when a transaction commits: what it
 * has applied is on other hosts already, and can't be refused.  So each write
 * transaction begins with room in the map, which grows where it must, and with
 * blocks of the disk set aside behind the pages in use.  When those can't be
 * had, store_room_low() says so early enough.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "store/stamp.h"
#include "store/store_internal.h"

#define ENV_FLAGS (MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD)
#define LOCK_BYTES 8192 /* lock.mdb, with a table of 126 readers */
#define ROOM_RETRY_MS 100

struct txn {
	struct store_txn base;
	MDB_txn *txn;	    /* NULL: begin failed */
	MDB_cursor *cursor; /* for seeks, made by the first */
	uint8_t *scratch;   /* copy of a value being put */
	size_t scratch_len; /* its allocation */
};

struct store_lmdb {
	struct store base;
	MDB_env *env;
	MDB_dbi dbi;
	int dir_fd;
	int lock_fd; /* locked: one process at a time */
	bool suspect; /* the disk failed: never call it clean */
	_Atomic(struct txn *) spare; /* a read transaction, reset */
	atomic_uint n_readers; /* read transactions begun and not ended */
	uint64_t map_bytes;    /* what LMDB may use of the address space */
	uint64_t ahead_bytes;  /* more than one transaction adds */
	uint64_t page_bytes;
	uint64_t room_bytes;   /* the file has blocks up to here */
	bool room_low;	       /* and no more could be had */
	uint64_t retry_ns;     /* ask for them again then */
};

static void lmdb_close(struct store *);
static int lmdb_clear(struct store *);
static int sync_env(struct store_lmdb *);
static struct store_txn *lmdb_begin(struct store *, enum store_mode);
static int lmdb_commit(struct store_txn *);
static void lmdb_abort(struct store_txn *);
static int lmdb_get(struct store_txn *, struct slice, struct slice *);
static int lmdb_seek(struct store_txn *, struct slice, bool, struct slice *,
    struct slice *);
static int lmdb_put(struct store_txn *, struct slice, struct slice,
    struct slice);
static int lmdb_del(struct store_txn *, struct slice);
static bool lmdb_room_low(struct store *);
static int open_dir(struct store_lmdb *, const char *dir);
static void close_dir(struct store_lmdb *);
static int open_db(struct store_lmdb *, const char *dir, uint64_t map_bytes);
static int open_env(struct store_lmdb *, const char *dir, uint64_t map_bytes);
static int lock_file_room(struct store_lmdb *);
static int open_dbi(struct store_lmdb *);
static int discard(struct store_lmdb *);
static int from_disk(struct store_lmdb *, int rc);
static struct txn *renew_spare(struct store_lmdb *);
static uint64_t used_bytes(struct store_lmdb *);
static int map_room(struct store_lmdb *);
static void disk_room(struct store_lmdb *);
static void free_spare(struct store_lmdb *);
static int same_key(MDB_val, struct slice);
static void txn_free(struct txn *);
static int from_mdb(int);
static MDB_val val_of(struct slice);
static struct slice slice_of_val(MDB_val);

static const struct store_ops lmdb_ops = {
    .close = lmdb_close,
    .clear = lmdb_clear,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .seek = lmdb_seek,
    .put = lmdb_put,
    .del = lmdb_del,
    .room_low = lmdb_room_low,
};

int
store_open_lmdb(const char *dir, uint64_t map_bytes, struct store **ret)
{
	struct store_lmdb *s;
	int err;

	err = digest_setup();
	if (err != 0)
		return err;
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return -errno;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->base.ops = &lmdb_ops;
	err = open_dir(s, dir);
	if (err == 0)
		err = open_db(s, dir, map_bytes);
	if (err != 0) {
		close_dir(s);
		free(s);
		return err;
	}
	*ret = &s->base;
	return 0;
}

/* From here on only this boot vouches for what is in the directory. */
static int
open_dir(struct store_lmdb *s, const char *dir)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int err = 0;

	s->lock_fd = -1;
	s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return -errno;
	s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC,
	    0600);
	if (s->lock_fd < 0)
		return -errno;
	/* Not flock(2): children that outlive us must not hold it. */
	if (fcntl(s->lock_fd, F_SETLK, &lock) != 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	if (!stamp_trusted(s->dir_fd))
		err = discard(s);
	if (err == 0)
		err = stamp_running(s->dir_fd);
	return err;
}

static void
close_dir(struct store_lmdb *s)
{
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	if (s->dir_fd >= 0)
		(void)close(s->dir_fd);
}

/* What LMDB itself finds broken is as good as lost: once more, empty. */
static int
open_db(struct store_lmdb *s, const char *dir, uint64_t map_bytes)
{
	int err;

	for (int tries = 0; tries < 2; tries++) {
		err = open_env(s, dir, map_bytes);
		if (err == 0)
			err = open_dbi(s);
		if (err == 0)
			return 0;
		mdb_env_close(s->env);
		s->env = NULL;
		if (err != -EUCLEAN || discard(s) != 0)
			return err;
	}
	return err;
}

static int
discard(struct store_lmdb *s)
{
	bool had = unlinkat(s->dir_fd, "data.mdb", 0) == 0;

	if (!had && errno != ENOENT)
		return -errno;
	if (had)
		log_warn("store: what was left may be broken: it is built "
			 "anew from the log");
	if (unlinkat(s->dir_fd, "lock.mdb", 0) != 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int
open_env(struct store_lmdb *s, const char *dir, uint64_t map_bytes)
{
	MDB_stat stat;
	int rc, dead;

	rc = lock_file_room(s);
	if (rc == 0)
		rc = mdb_env_create(&s->env);
	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, map_bytes);
	if (rc == 0)
		rc = mdb_env_open(s->env, dir, ENV_FLAGS, 0600);
	/* Readers that died with their process would pin old pages. */
	if (rc == 0)
		rc = mdb_reader_check(s->env, &dead);
	if (rc == 0)
		rc = mdb_env_stat(s->env, &stat);
	if (rc != 0)
		return from_mdb(rc);
	s->page_bytes = stat.ms_psize;
	s->map_bytes = map_bytes;
	s->ahead_bytes = map_bytes / 4;
	s->room_bytes = 0;
	disk_room(s);
	return 0;
}

/* LMDB maps this file to write to it: without blocks that is a SIGBUS. */
static int
lock_file_room(struct store_lmdb *s)
{
	int fd = openat(s->dir_fd, "lock.mdb", O_RDWR | O_CREAT | O_CLOEXEC,
	    0600);
	int err;

	if (fd < 0)
		return errno;
	err = posix_fallocate(fd, 0, LOCK_BYTES);
	(void)close(fd);
	return err;
}

static int
open_dbi(struct store_lmdb *s)
{
	MDB_txn *txn;
	int rc;

	assert(mdb_env_get_maxkeysize(s->env) >= STORE_KEY_MAX);
	rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc != 0)
		return from_mdb(rc);
	rc = mdb_dbi_open(txn, NULL, 0, &s->dbi);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return from_mdb(rc);
	}
	return from_mdb(mdb_txn_commit(txn));
}

static void
lmdb_close(struct store *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base;

	free_spare(s);
	if (sync_env(s) == 0 && !s->suspect)
		(void)stamp_clean(s->dir_fd);
	mdb_env_close(s->env);
	close_dir(s);
	free(s);
}

static int
lmdb_clear(struct store *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base;
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc != 0)
		return from_mdb(rc);
	rc = mdb_drop(txn, s->dbi, 0);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return from_mdb(rc);
	}
	return from_disk(s, mdb_txn_commit(txn));
}

static int
sync_env(struct store_lmdb *s)
{
	return from_disk(s, mdb_env_sync(s->env, 1));
}

static struct store_txn *
lmdb_begin(struct store *base, enum store_mode mode)
{
	struct store_lmdb *s = (struct store_lmdb *)base;
	struct txn *t = NULL;
	int rc = 0;

	if (mode == STORE_READ) {
		atomic_fetch_add(&s->n_readers, 1);
		t = renew_spare(s);
	} else {
		rc = map_room(s);
		disk_room(s);
	}
	if (t != NULL)
		return &t->base;
	t = calloc(1, sizeof(*t));
	/* So small an allocation does not fail on Linux; begin never NULL. */
	if (t == NULL)
		abort();
	t->base.store = base;
	t->base.mode = mode;
	if (rc == 0)
		rc = mdb_txn_begin(s->env, NULL,
		    mode == STORE_READ ? MDB_RDONLY : 0, &t->txn);
	t->base.error = from_mdb(rc);
	return &t->base;
}

/*
 * Room in the map for twice what is in use, a transaction that copies all of
 * it, and for what one may bring.  LMDB can't move the map under a reader:
 * then the next transaction will.
 */
static int
map_room(struct store_lmdb *s)
{
	uint64_t need = 2 * used_bytes(s) + s->ahead_bytes;
	uint64_t bytes = s->map_bytes;
	int rc;

	if (need <= bytes || atomic_load(&s->n_readers) != 0)
		return 0;
	while (bytes < need)
		bytes *= 2;
	free_spare(s);
	rc = mdb_env_set_mapsize(s->env, bytes);
	if (rc == 0) {
		s->map_bytes = bytes;
		log_info("store: its map grows to %llu MiB",
		    (unsigned long long)(bytes >> 20));
	}
	return rc;
}

/*
 * Blocks on the disk, too, behind the pages in use.  Half of them may be used
 * before more are asked for; a file system that can't set blocks aside is
 * believed to have some.
 */
static void
disk_room(struct store_lmdb *s)
{
	uint64_t used = used_bytes(s), ahead = LIMIT_STORE_ROOM + used;
	int fd;

	if (ahead > LIMIT_STORE_ROOM_MAX)
		ahead = LIMIT_STORE_ROOM_MAX;
	if (used + ahead / 2 <= s->room_bytes ||
	    (s->room_low && clock_now_ns() < s->retry_ns))
		return;
	s->retry_ns = clock_now_ns() + ROOM_RETRY_MS * NS_PER_MS;
	if (mdb_env_get_fd(s->env, &fd) == 0 &&
	    (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)s->room_bytes,
		(off_t)(used + ahead - s->room_bytes)) == 0 ||
		(errno != ENOSPC && errno != EDQUOT))) {
		s->room_bytes = used + ahead;
		s->room_low = false;
	} else if (!s->room_low) {
		s->room_low = true;
		log_error("store: the disk is full: refusing changes until "
			  "there is room");
	}
}

static bool
lmdb_room_low(struct store *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base;

	if (s->room_low)
		disk_room(s);
	return s->room_low;
}

static uint64_t
used_bytes(struct store_lmdb *s)
{
	MDB_envinfo info;

	(void)mdb_env_info(s->env, &info);
	return (uint64_t)(info.me_last_pgno + 1) * s->page_bytes;
}

static void
free_spare(struct store_lmdb *s)
{
	struct txn *spare = atomic_exchange(&s->spare, NULL);

	if (spare != NULL)
		txn_free(spare);
}

static struct txn *
renew_spare(struct store_lmdb *s)
{
	struct txn *t = atomic_exchange(&s->spare, NULL);

	if (t == NULL)
		return NULL;
	t->base.error = 0;
	t->base.digest_loaded = false;
	t->base.digest = (struct digest){0};
	if (mdb_txn_renew(t->txn) != 0) {
		txn_free(t);
		return NULL;
	}
	if (t->cursor != NULL && mdb_cursor_renew(t->txn, t->cursor) != 0) {
		mdb_cursor_close(t->cursor);
		t->cursor = NULL;
	}
	return t;
}

static int
lmdb_commit(struct store_txn *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	int rc;

	assert(base->mode == STORE_WRITE && t->txn != NULL);
	/* Both end with the transaction, whatever it answers. */
	if (t->cursor != NULL)
		mdb_cursor_close(t->cursor);
	t->cursor = NULL;
	rc = mdb_txn_commit(t->txn);
	t->txn = NULL;
	txn_free(t);
	return from_disk(s, rc);
}

static void
lmdb_abort(struct store_txn *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	struct txn *none = NULL;
	bool reader = base->mode == STORE_READ, kept = false;

	if (reader && t->txn != NULL) {
		mdb_txn_reset(t->txn);
		kept = atomic_compare_exchange_strong(&s->spare, &none, t);
	}
	if (!kept)
		txn_free(t);
	if (reader)
		atomic_fetch_sub(&s->n_readers, 1);
}

static int
lmdb_get(struct store_txn *base, struct slice key, struct slice *ret)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	MDB_val k = val_of(key), v;
	int rc;

	rc = mdb_get(t->txn, s->dbi, &k, &v);
	if (rc == 0)
		*ret = slice_of_val(v);
	return from_mdb(rc);
}

static int
lmdb_seek(struct store_txn *base, struct slice from, bool after,
    struct slice *ret_key, struct slice *ret_value)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	MDB_val k = val_of(from), v;
	int rc = 0;

	if (t->cursor == NULL)
		rc = mdb_cursor_open(t->txn, s->dbi, &t->cursor);
	if (rc == 0)
		rc = mdb_cursor_get(t->cursor, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && after && same_key(k, from))
		rc = mdb_cursor_get(t->cursor, &k, &v, MDB_NEXT);
	if (rc == 0) {
		*ret_key = slice_of_val(k);
		*ret_value = slice_of_val(v);
	}
	return from_mdb(rc);
}

/*
 * LMDB moves nodes within dirty pages, and frees pages that it spills, while
 * it puts: a value that was borrowed from this transaction must be out first.
 */
static int
lmdb_put(struct store_txn *base, struct slice key, struct slice value,
    struct slice tail)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	uint8_t key_copy[STORE_KEY_MAX];
	size_t len = value.len + tail.len;
	MDB_val k, v;

	if (t->scratch_len < len) {
		uint8_t *scratch = realloc(t->scratch, len);

		if (scratch == NULL)
			return -ENOMEM;
		t->scratch = scratch;
		t->scratch_len = len;
	}
	if (value.len != 0)
		memcpy(t->scratch, value.ptr, value.len);
	if (tail.len != 0)
		memcpy(t->scratch + value.len, tail.ptr, tail.len);
	memcpy(key_copy, key.ptr, key.len);
	k = (MDB_val){key.len, key_copy};
	v = (MDB_val){len, t->scratch};
	return from_mdb(mdb_put(t->txn, s->dbi, &k, &v, 0));
}

static int
lmdb_del(struct store_txn *base, struct slice key)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	uint8_t key_copy[STORE_KEY_MAX];
	MDB_val k;

	memcpy(key_copy, key.ptr, key.len);
	k = (MDB_val){key.len, key_copy};
	return from_mdb(mdb_del(t->txn, s->dbi, &k, NULL));
}

static int
same_key(MDB_val a, struct slice b)
{
	return slice_eq(slice_of_val(a), b);
}

static void
txn_free(struct txn *t)
{
	if (t->cursor != NULL)
		mdb_cursor_close(t->cursor);
	if (t->txn != NULL)
		mdb_txn_abort(t->txn);
	free(t->scratch);
	free(t);
}

/* After a failed write what the cache holds is not what the disk will. */
static int
from_disk(struct store_lmdb *s, int rc)
{
	if (rc != 0 && rc != MDB_MAP_FULL && !s->suspect) {
		s->suspect = true;
		stamp_clear(s->dir_fd);
	}
	return from_mdb(rc);
}

/* The only place that knows LMDB's codes. */
static int
from_mdb(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
		log_error("store: lmdb: %s; it must be rebuilt from the log",
		    mdb_strerror(rc));
		return -EUCLEAN;
	default:
		if (rc > 0)
			return -rc;
		log_error("store: lmdb: %s", mdb_strerror(rc));
		return -EIO;
	}
}

static MDB_val
val_of(struct slice s)
{
	return (MDB_val){s.len, (void *)(uintptr_t)s.ptr};
}

static struct slice
slice_of_val(MDB_val v)
{
	return slice_of(v.mv_data, v.mv_size);
}
