/*
 * store_lmdb.c: the store on disk.
 *
 * Derived state: what is lost with the operating system's cache comes again
 * from the log, so nothing here waits for the disk (MDB_NOSYNC).
 *
 * A read transaction costs LMDB an entry in its table of readers; the last one
 * ended is kept reset and renewed by the next begin, 0.2 us instead of 1.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "store/store_internal.h"

#define ENV_FLAGS (MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD)

struct txn {
	struct store_txn base;
	MDB_txn *txn;	    /* NULL: begin failed */
	MDB_cursor *cursor; /* for seeks, made by the first */
	void *scratch;	    /* copy of a value being put */
	size_t scratch_len; /* its allocation */
};

struct store_lmdb {
	struct store base;
	MDB_env *env;
	MDB_dbi dbi;
	_Atomic(struct txn *) spare; /* a read transaction, reset */
};

static void lmdb_close(struct store *);
static int lmdb_clear(struct store *);
static int lmdb_sync(struct store *);
static struct store_txn *lmdb_begin(struct store *, enum store_mode);
static int lmdb_commit(struct store_txn *);
static void lmdb_abort(struct store_txn *);
static int lmdb_get(struct store_txn *, struct slice, struct slice *);
static int lmdb_seek(struct store_txn *, struct slice, bool, struct slice *,
    struct slice *);
static int lmdb_put(struct store_txn *, struct slice, struct slice);
static int lmdb_del(struct store_txn *, struct slice);
static int open_env(struct store_lmdb *, const char *dir, uint64_t map_bytes);
static int open_dbi(struct store_lmdb *);
static struct txn *renew_spare(struct store_lmdb *);
static int same_key(MDB_val, struct slice);
static void txn_free(struct txn *);
static int from_mdb(int);
static MDB_val val_of(struct slice);
static struct slice slice_of_val(MDB_val);

static const struct store_ops lmdb_ops = {
    .close = lmdb_close,
    .clear = lmdb_clear,
    .sync = lmdb_sync,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .seek = lmdb_seek,
    .put = lmdb_put,
    .del = lmdb_del,
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
	err = open_env(s, dir, map_bytes);
	if (err == 0)
		err = open_dbi(s);
	if (err != 0) {
		mdb_env_close(s->env);
		free(s);
		return err;
	}
	*ret = &s->base;
	return 0;
}

static int
open_env(struct store_lmdb *s, const char *dir, uint64_t map_bytes)
{
	int rc, dead;

	rc = mdb_env_create(&s->env);
	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, map_bytes);
	if (rc == 0)
		rc = mdb_env_open(s->env, dir, ENV_FLAGS, 0600);
	/* Readers that died with their process would pin old pages. */
	if (rc == 0)
		rc = mdb_reader_check(s->env, &dead);
	return from_mdb(rc);
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
	struct txn *spare = atomic_exchange(&s->spare, NULL);

	if (spare != NULL)
		txn_free(spare);
	mdb_env_close(s->env);
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
	return from_mdb(mdb_txn_commit(txn));
}

static int
lmdb_sync(struct store *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base;

	return from_mdb(mdb_env_sync(s->env, 1));
}

static struct store_txn *
lmdb_begin(struct store *base, enum store_mode mode)
{
	struct store_lmdb *s = (struct store_lmdb *)base;
	struct txn *t = NULL;

	if (mode == STORE_READ)
		t = renew_spare(s);
	if (t != NULL)
		return &t->base;
	t = calloc(1, sizeof(*t));
	/* So small an allocation does not fail on Linux; begin never NULL. */
	if (t == NULL)
		abort();
	t->base.store = base;
	t->base.mode = mode;
	t->base.error = from_mdb(mdb_txn_begin(s->env, NULL,
	    mode == STORE_READ ? MDB_RDONLY : 0, &t->txn));
	return &t->base;
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
	return from_mdb(rc);
}

static void
lmdb_abort(struct store_txn *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	struct txn *none = NULL;

	if (base->mode == STORE_READ && t->txn != NULL) {
		mdb_txn_reset(t->txn);
		if (atomic_compare_exchange_strong(&s->spare, &none, t))
			return;
	}
	txn_free(t);
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
lmdb_put(struct store_txn *base, struct slice key, struct slice value)
{
	struct store_lmdb *s = (struct store_lmdb *)base->store;
	struct txn *t = (struct txn *)base;
	uint8_t key_copy[STORE_KEY_MAX];
	MDB_val k, v;

	if (t->scratch_len < value.len) {
		void *scratch = realloc(t->scratch, value.len);

		if (scratch == NULL)
			return -ENOMEM;
		t->scratch = scratch;
		t->scratch_len = value.len;
	}
	if (value.len != 0)
		memcpy(t->scratch, value.ptr, value.len);
	memcpy(key_copy, key.ptr, key.len);
	k = (MDB_val){key.len, key_copy};
	v = (MDB_val){value.len, t->scratch};
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
