/*
 * command.c: the codec of one command, driven by command.def.
 *
 * Layout: u16 kind, u8 privileged, u8 number of groups, then the stamp's fixed
 * fields, the groups, and the kind's own fields in the order of their bits.
 */
#include "config.h"

#include "command/command.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

/* The kernel hands out xattr values up to this; the machine allows fewer. */
#define XATTR_VALUE_ENCODED 65536

struct kind_info {
	const char *name; /* NULL: no such kind */
	uint32_t fields;  /* F_* bits */
};

static const struct kind_info kinds[] = {
#define COMMAND(number, name, fields, text) [number] = {#name, fields},
#include "command/command.def"
#undef COMMAND
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static uint32_t flags_allowed(enum command_kind);
static size_t data_max(enum command_kind);
static bool name_valid(enum command_kind, struct slice);
static bool command_valid(const struct command *);
static void encode_stamp(struct buf *, const struct stamp *);
static void encode_fields(struct buf *, const struct command *);
static void decode_stamp(struct reader *, struct stamp *);
static void decode_fields(struct reader *, struct command *);
static void encode_lock(struct buf *, const struct lock_spec *);
static void decode_lock(struct reader *, struct lock_spec *);

const char *
command_name(enum command_kind kind)
{
	return (size_t)kind < N_KINDS ? kinds[kind].name : NULL;
}

uint32_t
command_fields(enum command_kind kind)
{
	return (size_t)kind < N_KINDS ? kinds[kind].fields : 0;
}

void
command_encode(struct buf *b, const struct command *c)
{
	assert(command_name(c->kind) != NULL);
	assert(c->stamp.n_groups <= LIMIT_GROUPS);
	assert(command_valid(c));

	buf_u16(b, (uint16_t)c->kind);
	encode_stamp(b, &c->stamp);
	encode_fields(b, c);
}

int
command_decode(struct slice bytes, struct command *ret)
{
	struct command c = {0};
	struct reader r;

	reader_init(&r, bytes);
	c.kind = (enum command_kind)reader_u16(&r);
	if (command_name(c.kind) == NULL)
		return -EBADMSG;
	decode_stamp(&r, &c.stamp);
	decode_fields(&r, &c);
	if (!reader_done(&r) || !command_valid(&c))
		return -EBADMSG;
	*ret = c;
	return 0;
}

static uint32_t
flags_allowed(enum command_kind kind)
{
	switch (kind) {
	case COMMAND_create:
		return CREATE_EXCL;
	case COMMAND_birth:
		return BIRTH_APPEND | BIRTH_OWNER | WRITE_KEEP_MTIME |
		    WRITE_EXPECT;
	case COMMAND_rename:
		return RENAME_FLAG_NOREPLACE | RENAME_FLAG_EXCHANGE;
	case COMMAND_write:
	case COMMAND_append:
		return WRITE_KEEP_MTIME | WRITE_EXPECT | WRITE_CREATOR;
	case COMMAND_setattr:
		return SETATTR_MODE | SETATTR_UID | SETATTR_GID |
		    SETATTR_ATIME | SETATTR_MTIME | SETATTR_ATIME_NOW |
		    SETATTR_MTIME_NOW;
	case COMMAND_setxattr:
		return XATTR_FLAG_CREATE | XATTR_FLAG_REPLACE;
	case COMMAND_lock:
		return LOCK_FLOCK | LOCK_EXCLUSIVE | LOCK_WAIT;
	case COMMAND_unlock:
		return LOCK_FLOCK | UNLOCK_HANDLE | UNLOCK_OWNER;
	default:
		return 0;
	}
}

static size_t
data_max(enum command_kind kind)
{
	switch (kind) {
	case COMMAND_symlink:
		return LIMIT_SYMLINK;
	case COMMAND_setxattr:
		return XATTR_VALUE_ENCODED;
	case COMMAND_session_open:
		return LIMIT_HOST_FACTS_BYTES;
	default:
		return LIMIT_FILE_MAX;
	}
}

/* A path component; an xattr's name may hold slashes and dots, a program's
 * (comm) is whatever it calls itself. */
static bool
name_valid(enum command_kind kind, struct slice name)
{
	if (kind == COMMAND_lock)
		return name.len < LIMIT_COMM &&
		    (name.len == 0 || memchr(name.ptr, '\0', name.len) == NULL);
	if (name.len == 0 || name.len > LIMIT_NAME)
		return false;
	if (memchr(name.ptr, '\0', name.len) != NULL)
		return false;
	if (kind == COMMAND_setxattr || kind == COMMAND_removexattr)
		return true;
	return memchr(name.ptr, '/', name.len) == NULL &&
	    !slice_eq(name, slice_str(".")) && !slice_eq(name, slice_str(".."));
}

static bool
command_valid(const struct command *c)
{
	uint32_t fields = command_fields(c->kind);

	if ((fields & F_NAME) && !name_valid(c->kind, c->name))
		return false;
	if ((fields & F_NAME2) && !name_valid(c->kind, c->name2))
		return false;
	if ((fields & F_MODE) && (c->mode & ~(uint32_t)(S_IFMT | 07777)) != 0)
		return false;
	if ((fields & F_FLAGS) && (c->flags & ~flags_allowed(c->kind)) != 0)
		return false;
	if ((fields & F_DATA) && c->data.len > data_max(c->kind))
		return false;
	if ((fields & F_LOCKING) && c->lock.start > c->lock.end)
		return false;
	/* A link's target is a C string to readlink(2). */
	return c->kind != COMMAND_symlink || (c->data.len != 0 &&
	    memchr(c->data.ptr, '\0', c->data.len) == NULL);
}

static void
encode_stamp(struct buf *b, const struct stamp *s)
{
	buf_u8(b, s->privileged);
	buf_u8(b, (uint8_t)s->n_groups);
	buf_u64(b, s->session);
	buf_u64(b, s->seq);
	buf_u64(b, s->done_below);
	buf_u64(b, s->host);
	buf_u64(b, s->seen);
	buf_u32(b, s->uid);
	buf_u32(b, s->gid);
	for (uint32_t i = 0; i < s->n_groups; i++)
		buf_u32(b, s->groups[i]);
}

static void
decode_stamp(struct reader *r, struct stamp *s)
{
	uint8_t privileged = reader_u8(r);

	s->privileged = privileged != 0;
	s->n_groups = reader_u8(r);
	s->session = reader_u64(r);
	s->seq = reader_u64(r);
	s->done_below = reader_u64(r);
	s->host = reader_u64(r);
	s->seen = reader_u64(r);
	s->uid = reader_u32(r);
	s->gid = reader_u32(r);
	if (privileged > 1 || s->n_groups > LIMIT_GROUPS) {
		s->n_groups = 0;
		reader_fail(r);
		return;
	}
	for (uint32_t i = 0; i < s->n_groups; i++)
		s->groups[i] = reader_u32(r);
}

static void
encode_fields(struct buf *b, const struct command *c)
{
	uint32_t fields = command_fields(c->kind);

	if (fields & F_DIR)
		buf_u64(b, c->dir);
	if (fields & F_NAME)
		buf_slice16(b, c->name);
	if (fields & F_NODE)
		buf_u64(b, c->node);
	if (fields & F_DIR2)
		buf_u64(b, c->dir2);
	if (fields & F_NAME2)
		buf_slice16(b, c->name2);
	if (fields & F_NODE2)
		buf_u64(b, c->node2);
	if (fields & F_INO)
		buf_u64(b, c->ino);
	if (fields & F_MODE)
		buf_u32(b, c->mode);
	if (fields & F_OWNER) {
		buf_u32(b, c->uid);
		buf_u32(b, c->gid);
	}
	if (fields & F_FLAGS)
		buf_u32(b, c->flags);
	if (fields & F_SIZE)
		buf_u64(b, c->size);
	if (fields & F_TIMES) {
		buf_u64(b, c->atime_ns);
		buf_u64(b, c->mtime_ns);
	}
	if (fields & F_EXPECT)
		buf_u64(b, c->expect);
	if (fields & F_DATA)
		buf_slice32(b, c->data);
	if (fields & F_LOCKING)
		encode_lock(b, &c->lock);
	if (fields & F_TOKEN)
		buf_u64(b, c->token);
}

static void
decode_fields(struct reader *r, struct command *c)
{
	uint32_t fields = command_fields(c->kind);

	if (fields & F_DIR)
		c->dir = reader_u64(r);
	if (fields & F_NAME)
		c->name = reader_slice16(r, LIMIT_NAME);
	if (fields & F_NODE)
		c->node = reader_u64(r);
	if (fields & F_DIR2)
		c->dir2 = reader_u64(r);
	if (fields & F_NAME2)
		c->name2 = reader_slice16(r, LIMIT_NAME);
	if (fields & F_NODE2)
		c->node2 = reader_u64(r);
	if (fields & F_INO)
		c->ino = reader_u64(r);
	if (fields & F_MODE)
		c->mode = reader_u32(r);
	if (fields & F_OWNER) {
		c->uid = reader_u32(r);
		c->gid = reader_u32(r);
	}
	if (fields & F_FLAGS)
		c->flags = reader_u32(r);
	if (fields & F_SIZE)
		c->size = reader_u64(r);
	if (fields & F_TIMES) {
		c->atime_ns = reader_u64(r);
		c->mtime_ns = reader_u64(r);
	}
	if (fields & F_EXPECT)
		c->expect = reader_u64(r);
	if (fields & F_DATA)
		c->data = reader_slice32(r, data_max(c->kind));
	if (fields & F_LOCKING)
		decode_lock(r, &c->lock);
	if (fields & F_TOKEN)
		c->token = reader_u64(r);
}

static void
encode_lock(struct buf *b, const struct lock_spec *l)
{
	buf_u64(b, l->owner);
	buf_u64(b, l->handle);
	buf_u64(b, l->start);
	buf_u64(b, l->end);
	buf_u32(b, l->pid);
}

static void
decode_lock(struct reader *r, struct lock_spec *l)
{
	l->owner = reader_u64(r);
	l->handle = reader_u64(r);
	l->start = reader_u64(r);
	l->end = reader_u64(r);
	l->pid = reader_u32(r);
}
