/*
 * command.c: the codec keeps what it is given and survives what it is sent.
 * `command.t [seed]`.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "command/command.h"
#include "tests/random.h"
#include "tests/tap.h"

static const enum command_kind all_kinds[] = {
#define COMMAND(number, name, fields, text) COMMAND_##name,
#include "command/command.def"
#undef COMMAND
};
#define N_KINDS (sizeof(all_kinds) / sizeof(all_kinds[0]))

static struct random random_state;

static uint32_t
random_flags(enum command_kind kind)
{
	switch (kind) {
	case COMMAND_create:
		return CREATE_EXCL;
	case COMMAND_birth:
		return BIRTH_APPEND | WRITE_KEEP_MTIME | WRITE_EXPECT;
	case COMMAND_rename:
		return RENAME_FLAG_EXCHANGE;
	case COMMAND_write:
		return WRITE_EXPECT | WRITE_CREATOR;
	case COMMAND_setattr:
		return SETATTR_MODE | SETATTR_MTIME_NOW;
	case COMMAND_setxattr:
		return XATTR_FLAG_REPLACE;
	case COMMAND_lock:
		return LOCK_FLOCK | LOCK_EXCLUSIVE | LOCK_WAIT;
	case COMMAND_unlock:
		return LOCK_FLOCK | UNLOCK_HANDLE | UNLOCK_OWNER;
	default:
		return 0;
	}
}

/* Every field that the kind carries, and none besides. */
static struct command
sample(enum command_kind kind)
{
	uint32_t f = command_fields(kind);
	struct command c = {
		.kind = kind,
		.stamp = {
			.session = random_u64(&random_state), .seq = 7,
			.done_below = 3, .host = 9, .seen = UINT64_MAX,
			.uid = 1000, .gid = 100, .privileged = true,
			.n_groups = random_below(&random_state,
			    LIMIT_GROUPS + 1),
		},
	};

	for (uint32_t i = 0; i < c.stamp.n_groups; i++)
		c.stamp.groups[i] = (uint32_t)random_u64(&random_state);
	c.dir = f & F_DIR ? random_u64(&random_state) : 0;
	c.name = f & F_NAME ? slice_str("user.name") : SLICE_EMPTY;
	c.node = f & F_NODE ? random_u64(&random_state) : 0;
	c.dir2 = f & F_DIR2 ? random_u64(&random_state) : 0;
	c.name2 = f & F_NAME2 ? slice_str("..name") : SLICE_EMPTY;
	c.node2 = f & F_NODE2 ? random_u64(&random_state) : 0;
	c.ino = f & F_INO ? random_u64(&random_state) : 0;
	c.mode = f & F_MODE ? S_IFREG | 04755 : 0;
	c.uid = f & F_OWNER ? 12 : 0;
	c.gid = f & F_OWNER ? 13 : 0;
	c.flags = f & F_FLAGS ? random_flags(kind) : 0;
	c.size = f & F_SIZE ? random_u64(&random_state) : 0;
	c.atime_ns = f & F_TIMES ? random_u64(&random_state) : 0;
	c.mtime_ns = f & F_TIMES ? random_u64(&random_state) : 0;
	c.expect = f & F_EXPECT ? random_u64(&random_state) : 0;
	c.data = f & F_DATA ? slice_str("data of a command") : SLICE_EMPTY;
	c.token = f & F_TOKEN ? random_u64(&random_state) : 0;
	if (f & F_LOCKING)
		c.lock = (struct lock_spec){
			.owner = random_u64(&random_state),
			.handle = random_u64(&random_state), .start = 5,
			.end = UINT64_MAX, .pid = 77,
		};
	return c;
}

static bool
same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->session == b->session && a->seq == b->seq &&
	    a->done_below == b->done_below && a->host == b->host &&
	    a->seen == b->seen && a->uid == b->uid && a->gid == b->gid &&
	    a->privileged == b->privileged && a->n_groups == b->n_groups &&
	    memcmp(a->groups, b->groups,
	    a->n_groups * sizeof(a->groups[0])) == 0;
}

static bool
same_command(const struct command *a, const struct command *b)
{
	return a->kind == b->kind && same_stamp(&a->stamp, &b->stamp) &&
	    a->dir == b->dir && slice_eq(a->name, b->name) &&
	    a->node == b->node && a->dir2 == b->dir2 &&
	    slice_eq(a->name2, b->name2) && a->node2 == b->node2 &&
	    a->ino == b->ino && a->mode == b->mode && a->uid == b->uid &&
	    a->gid == b->gid && a->flags == b->flags && a->size == b->size &&
	    a->atime_ns == b->atime_ns && a->mtime_ns == b->mtime_ns &&
	    a->expect == b->expect && slice_eq(a->data, b->data) &&
	    a->token == b->token && a->lock.owner == b->lock.owner &&
	    a->lock.handle == b->lock.handle &&
	    a->lock.start == b->lock.start && a->lock.end == b->lock.end &&
	    a->lock.pid == b->lock.pid;
}

static void
test_kinds(void)
{
	struct command c, back;
	struct buf b;

	buf_init(&b, LIMIT_COMMAND);
	for (size_t i = 0; i < N_KINDS; i++) {
		c = sample(all_kinds[i]);
		buf_reset(&b);
		command_encode(&b, &c);
		assert(buf_error(&b) == 0);
		ok(command_decode(buf_slice(&b), &back) == 0 &&
		    same_command(&c, &back), "%s comes back as it was",
		    command_name(c.kind));
	}
	ok(command_name(0) == NULL && command_name(9999) == NULL,
	    "numbers not in command.def have no name");
	buf_fini(&b);
}

/* Decodes c after patch() has spoilt the bytes of an honest encoding. */
static int
decode_spoilt(struct command *c, size_t offset, uint8_t byte, size_t cut)
{
	struct command back;
	struct slice bytes;
	struct buf b;
	int err;

	buf_init(&b, LIMIT_COMMAND);
	command_encode(&b, c);
	assert(buf_error(&b) == 0 && offset < b.len && cut <= b.len);
	b.ptr[offset] = byte;
	bytes = buf_slice(&b);
	bytes.len -= cut;
	err = command_decode(bytes, &back);
	buf_fini(&b);
	return err;
}

enum {
	AT_KIND = 0, AT_PRIVILEGED = 2, AT_N_GROUPS = 3,
	AT_FIELDS = 4 + 5 * 8 + 2 * 4, /* no groups */
};

static void
test_refusals(void)
{
	struct command c = sample(COMMAND_mkdir);
	size_t at_name = AT_FIELDS + 8 + 2;

	c.stamp.n_groups = 0;
	c.name = slice_str("ab");
	is_int(decode_spoilt(&c, at_name, 'x', 0), 0, "a name may change");
	is_int(decode_spoilt(&c, at_name, '/', 0), -EBADMSG,
	    "a name holds no slash");
	is_int(decode_spoilt(&c, at_name, '\0', 0), -EBADMSG,
	    "a name holds no NUL");
	is_int(decode_spoilt(&c, at_name, 'x', 1), -EBADMSG,
	    "a cut command is refused");
	c.name = slice_str(".a");
	is_int(decode_spoilt(&c, at_name + 1, '.', 0), -EBADMSG,
	    "\"..\" is no name");
	is_int(decode_spoilt(&c, AT_KIND, 200, 0), -EBADMSG,
	    "an unknown kind is refused");
	is_int(decode_spoilt(&c, AT_PRIVILEGED, 2, 0), -EBADMSG,
	    "a flag is 0 or 1");
	is_int(decode_spoilt(&c, AT_N_GROUPS, LIMIT_GROUPS + 1, 0), -EBADMSG,
	    "groups are bounded");
	is_int(decode_spoilt(&c, AT_N_GROUPS, 200, 0), -EBADMSG,
	    "more groups than bytes are refused");
	c = sample(COMMAND_rename);
	c.stamp.n_groups = 0;
	c.name = c.name2 = slice_str("a");
	is_int(decode_spoilt(&c, AT_FIELDS + 8 + 3 + 8 + 8 + 3 + 8, 0x10, 0),
	    -EBADMSG, "flags of other commands are refused");
	c = sample(COMMAND_lock);
	c.stamp.n_groups = 0;
	c.name = slice_str("a/b");
	c.lock.end = 9;
	is_int(decode_spoilt(&c, AT_FIELDS + 2, '/', 0), 0,
	    "a program may call itself anything");
	is_int(decode_spoilt(&c, AT_FIELDS, 16, 0), -EBADMSG,
	    "if it is short");
	is_int(decode_spoilt(&c, AT_FIELDS + 2 + 3 + 8 + 4 + 8 + 8, 10, 0),
	    -EBADMSG, "a range begins before it ends");
	is_int(command_decode(SLICE_EMPTY, &c), -EBADMSG,
	    "nothing is no command");
}

static void
test_entries(void)
{
	struct entry_header h = {.group = 3, .time_ns = 12345};
	struct entry_reader e;
	struct command c, back;
	struct buf entry, one;
	struct slice bytes;
	unsigned n = 0;
	bool good = true;

	buf_init(&entry, LIMIT_ENTRY);
	buf_init(&one, LIMIT_COMMAND);
	entry_begin(&entry, &h);
	for (size_t i = 0; i < N_KINDS; i++) {
		c = sample(all_kinds[i]);
		buf_reset(&one);
		command_encode(&one, &c);
		entry_add(&entry, buf_slice(&one));
	}
	entry_end(&entry);
	is_int(buf_error(&entry), 0, "an entry takes many commands");
	ok(entry.len % 8 == 0, "its length is a multiple of 8");
	is_int(entry_open(buf_slice(&entry), &e), 0, "it opens");
	ok(e.header.group == 3 && e.header.time_ns == 12345 &&
	    e.header.n == N_KINDS, "with the header it was given");
	while (entry_next(&e, &bytes) == 1) {
		good = good && command_decode(bytes, &back) == 0 &&
		    back.kind == all_kinds[n];
		n++;
	}
	ok(good && n == N_KINDS, "and the commands in their order");
	bytes = buf_slice(&entry);
	bytes.len -= 8;
	(void)entry_open(bytes, &e);
	n = 0;
	while (entry_next(&e, &bytes) == 1)
		n++;
	ok(n < N_KINDS && entry_next(&e, &bytes) == -EBADMSG,
	    "a cut entry ends in an error");
	is_int(entry_open(slice_of(entry.ptr, entry.len - 4), &e), -EBADMSG,
	    "an entry of another length than a multiple of 8 is refused");
	is_int(entry_open(SLICE_EMPTY, &e), -EBADMSG, "so is an empty one");
	buf_fini(&entry);
	buf_fini(&one);
}

/* The copy has exactly the bytes, so that a sanitizer sees a step beyond. */
static void
read_all(const struct buf *b, size_t len)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);
	struct entry_reader e;
	struct command c;
	struct slice bytes;
	struct buf again;

	memcpy(copy, b->ptr, len);
	buf_init(&again, LIMIT_COMMAND);
	if (entry_open(slice_of(copy, len), &e) == 0) {
		while (entry_next(&e, &bytes) == 1) {
			buf_reset(&again);
			if (command_decode(bytes, &c) != 0)
				continue;
			command_encode(&again, &c);
			assert(slice_eq(bytes, buf_slice(&again)));
		}
	}
	buf_fini(&again);
	free(copy);
}

static void
test_mutations(void)
{
	struct entry_header h = {.time_ns = 1};
	struct buf entry, one;
	struct command c;

	buf_init(&entry, LIMIT_ENTRY);
	buf_init(&one, LIMIT_COMMAND);
	for (unsigned round = 0; round < 20000; round++) {
		buf_reset(&entry);
		entry_begin(&entry, &h);
		for (unsigned i = 0; i < 3; i++) {
			c = sample(all_kinds[random_below(&random_state,
			    N_KINDS)]);
			buf_reset(&one);
			command_encode(&one, &c);
			entry_add(&entry, buf_slice(&one));
		}
		entry_end(&entry);
		for (unsigned i = random_below(&random_state, 8); i > 0; i--)
			entry.ptr[random_below(&random_state,
			    (unsigned)entry.len)] =
			    (uint8_t)random_u64(&random_state);
		read_all(&entry, random_below(&random_state, 4) != 0 ?
		    entry.len : random_below(&random_state,
		    (unsigned)entry.len + 1));
	}
	pass("spoilt entries are read without harm, and what is taken from "
	    "them encodes to the same bytes (S3)");
	buf_fini(&entry);
	buf_fini(&one);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) :
	    (uint64_t)time(NULL);

	diag("seed %llu", (unsigned long long)seed);
	random_init(&random_state, seed);
	test_kinds();
	test_refusals();
	test_entries();
	test_mutations();
	return done_testing();
}
