/*
 * schema.c: keys from numbers and names, and back.
 */
#include "config.h"

#include "tree/schema.h"

#include <assert.h>
#include <endian.h>

struct layout {
	bool known;	    /* there is such a family */
	uint8_t n_numbers;  /* 0..2 */
	bool has_name;	    /* the rest of the key */
};

static const struct layout layouts[] = {
	[FAMILY_APPLIED] = {true, 0, false},
	[FAMILY_META] = {true, 0, false},
	[FAMILY_NODE] = {true, 1, false},
	[FAMILY_NAME] = {true, 1, true},
	[FAMILY_BACKLINK] = {true, 2, true},
	[FAMILY_CONTENT] = {true, 1, false},
	[FAMILY_XATTR] = {true, 1, true},
	[FAMILY_TOMB] = {true, 1, true},
	[FAMILY_TOMB_ORDER] = {true, 2, true},
	[FAMILY_TOMB_STATE] = {true, 0, false},
	[FAMILY_SESSION] = {true, 1, false},
	[FAMILY_HOST] = {true, 1, false},
	[FAMILY_OUTCOME] = {true, 2, false},
	[FAMILY_LOCK_HELD] = {true, 2, false},
	[FAMILY_LOCK_WAIT] = {true, 2, false},
	[FAMILY_LOCK_DELAY] = {true, 2, false},
	[FAMILY_LOCK_TOKEN] = {true, 1, false},
	[FAMILY_LOCK_STATE] = {true, 0, false},
	[FAMILY_LIFE] = {true, 1, false},
	[FAMILY_NAME_LIFE] = {true, 1, true},
	[FAMILY_LIFE_COUNT] = {true, 1, false},
};

static struct slice build(struct key *, enum family, unsigned n, uint64_t a,
    uint64_t b, struct slice name);

struct slice
schema_key(struct key *k, enum family family, uint64_t a, uint64_t b,
    struct slice name)
{
	const struct layout *l = &layouts[family];

	assert(l->known);
	assert(!l->has_name || name.len <= LIMIT_NAME);
	return build(k, family, l->n_numbers, a, b,
	    l->has_name ? name : SLICE_EMPTY);
}

struct slice
schema_prefix(struct key *k, enum family family, unsigned n, uint64_t a,
    uint64_t b)
{
	assert(n <= layouts[family].n_numbers);
	return build(k, family, n, a, b, SLICE_EMPTY);
}

bool
schema_parse(struct slice key, enum family family, uint64_t *ret_a,
    uint64_t *ret_b, struct slice *ret_name)
{
	const struct layout *l = &layouts[family];
	uint64_t numbers[2] = {0, 0};
	struct reader r;

	assert(l->known);
	reader_init(&r, key);
	if (reader_u8(&r) != family)
		return false;
	for (unsigned i = 0; i < l->n_numbers; i++)
		numbers[i] = reader_be64(&r);
	if (!reader_ok(&r) || reader_left(&r) > (l->has_name ? LIMIT_NAME : 0))
		return false;
	if (ret_a != NULL)
		*ret_a = numbers[0];
	if (ret_b != NULL)
		*ret_b = numbers[1];
	if (ret_name != NULL)
		*ret_name = reader_rest(&r);
	return true;
}

void
schema_attr_put(struct buf *b, const struct attr *a)
{
	buf_u32(b, a->mode);
	buf_u32(b, a->nlink);
	buf_u32(b, a->uid);
	buf_u32(b, a->gid);
	buf_u64(b, a->size);
	buf_u64(b, a->rev);
	buf_u64(b, a->attr_rev);
	buf_u64(b, a->atime_ns);
	buf_u64(b, a->mtime_ns);
	buf_u64(b, a->ctime_ns);
}

void
schema_attr_get(struct reader *r, struct attr *ret)
{
	ret->mode = reader_u32(r);
	ret->nlink = reader_u32(r);
	ret->uid = reader_u32(r);
	ret->gid = reader_u32(r);
	ret->size = reader_u64(r);
	ret->rev = reader_u64(r);
	ret->attr_rev = reader_u64(r);
	ret->atime_ns = reader_u64(r);
	ret->mtime_ns = reader_u64(r);
	ret->ctime_ns = reader_u64(r);
}

static struct slice
build(struct key *k, enum family family, unsigned n, uint64_t a, uint64_t b,
    struct slice name)
{
	uint64_t numbers[2] = {htobe64(a), htobe64(b)};
	size_t len = 1;

	assert(n <= 2 && name.len <= LIMIT_NAME);
	k->bytes[0] = (uint8_t)family;
	memcpy(k->bytes + len, numbers, sizeof(numbers));
	len += n * sizeof(numbers[0]);
	if (name.len != 0)
		memcpy(k->bytes + len, name.ptr, name.len);
	return slice_of(k->bytes, len + name.len);
}
