/*
 * command.h: the vocabulary, what may be asked of the replicated state.
 *
 * A command is a flat struct: command.def says which fields each kind carries,
 * and one table-driven codec packs just those.  Slices are borrowed: from the
 * proposer until it is encoded, from the entry's bytes after decoding.
 *
 * The stamp says who asks.  Its proposer fills it once; retries carry the same
 * (session, seq), which is how the machine applies a command exactly once.
 */
#ifndef COMMAND_COMMAND_H
#define COMMAND_COMMAND_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/reader.h"

enum command_kind {
#define COMMAND(number, name, fields, text) COMMAND_##name = number,
#include "command/command.def"
#undef COMMAND
};

/* Bits for command.def; encoded in this order. */
enum command_field {
	F_DIR = 1 << 0,	   /* dir */
	F_NAME = 1 << 1,   /* name */
	F_NODE = 1 << 2,   /* node */
	F_DIR2 = 1 << 3,   /* dir2 */
	F_NAME2 = 1 << 4,  /* name2 */
	F_NODE2 = 1 << 5,  /* node2 */
	F_INO = 1 << 6,	   /* ino */
	F_MODE = 1 << 7,   /* mode */
	F_OWNER = 1 << 8,  /* uid, gid */
	F_FLAGS = 1 << 9,  /* flags */
	F_SIZE = 1 << 10,  /* size */
	F_TIMES = 1 << 11, /* atime_ns, mtime_ns */
	F_EXPECT = 1 << 12, /* expect */
	F_DATA = 1 << 13,  /* data */
	F_LOCKING = 1 << 14, /* lock */
	F_TOKEN = 1 << 15, /* token */
};

/* What flags may say; each command uses its own. */
enum command_flag {
	/* rename; the numbers of renameat2(2) */
	RENAME_FLAG_NOREPLACE = 1 << 0,
	RENAME_FLAG_EXCHANGE = 1 << 1,
	/* birth: an existing file gets the data appended, not replaced */
	BIRTH_APPEND = 1 << 2,
	/* write, append, birth: mtime_ns was set by utimens after the last
	 * write(2); keep it instead of the entry's time */
	WRITE_KEEP_MTIME = 1 << 3,
	/* write, append: refuse with ESTALE unless the content is of `expect`;
	 * birth: unless the name is free, which takes it as O_EXCL does */
	WRITE_EXPECT = 1 << 4,
	/* write, append: through the handle that made the file; the mode at
	 * commit doesn't matter (open(2): O_CREAT with mode 0400) */
	WRITE_CREATOR = 1 << 5,
	/* setattr: which of them to set; NOW means the entry's time */
	SETATTR_MODE = 1 << 6,
	SETATTR_UID = 1 << 7,
	SETATTR_GID = 1 << 8,
	SETATTR_ATIME = 1 << 9,
	SETATTR_MTIME = 1 << 10,
	SETATTR_ATIME_NOW = 1 << 11,
	SETATTR_MTIME_NOW = 1 << 12,
	/* setxattr; as setxattr(2) */
	XATTR_FLAG_CREATE = 1 << 13,
	XATTR_FLAG_REPLACE = 1 << 14,
	/* create: the name must be free; without it a regular file that has
	 * the name is what was asked for (ino of the outcome, no change) */
	CREATE_EXCL = 1 << 15,
	/* birth: chown came before it; uid and gid are to be the file's */
	BIRTH_OWNER = 1 << 16,
	/* lock, unlock: flock(2); without it a byte range of fcntl(2) */
	LOCK_FLOCK = 1 << 17,
	/* lock: exclusive; without it shared */
	LOCK_EXCLUSIVE = 1 << 18,
	/* lock: queue instead of -EAGAIN; granted by a CHANGE_GRANT later */
	LOCK_WAIT = 1 << 19,
	/* unlock: every byte range that was taken through lock.handle (OFD
	 * locks: the kernel names no owner when the last descriptor closes) */
	UNLOCK_HANDLE = 1 << 20,
	/* unlock: every byte range and flock of the owner on the node */
	UNLOCK_OWNER = 1 << 21,
};

struct stamp {
	uint64_t session;    /* who retries; 0 only in session_open's own past */
	uint64_t seq;	     /* 1, 2, ... within the session */
	uint64_t done_below; /* every seq below has been answered */
	uint64_t host;	     /* member id of the proposer */
	uint64_t seen;	     /* revision the proposer's kernel view showed; rule P */
	uint32_t uid, gid;   /* the caller's, or its open's */
	bool privileged;     /* CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_CHOWN: root */
	uint32_t n_groups;   /* <= LIMIT_GROUPS */
	uint32_t groups[LIMIT_GROUPS];
};

/* A lock's owner is (stamp.session, owner): the kernel's lock_owner is unique on
 * its host.  Ranges are inclusive; end UINT64_MAX: to the end of the file. */
struct lock_spec {
	uint64_t owner;	     /* the kernel's lock_owner */
	uint64_t handle;     /* open file it was taken through; 0: none */
	uint64_t start, end; /* bytes; flock: 0 and UINT64_MAX */
	uint32_t pid;	     /* for .gov/locks; on its host */
};

struct command {
	enum command_kind kind;
	struct stamp stamp;
	uint64_t dir;	   /* parent directory of name */
	struct slice name; /* one component, or an xattr's full name */
	uint64_t node;	   /* what the caller's kernel resolved; 0: absent.
			    * session_open: the new session's id */
	uint64_t dir2;	   /* rename: parent of name2 */
	struct slice name2;
	uint64_t node2;	   /* rename: what name2 resolved to; 0: absent */
	uint64_t ino;	   /* the new node's number, of the session's range */
	uint32_t mode;	   /* type and permission bits, umask applied */
	uint32_t uid, gid; /* setattr; birth, if BIRTH_OWNER */
	uint32_t flags;	   /* enum command_flag */
	uint64_t size;	   /* truncate; session_open: max_file, if it is
			    * the command that formats the tree; 0: default */
	uint64_t atime_ns, mtime_ns; /* since the epoch */
	uint64_t expect;   /* content version the writer has read */
	struct slice data; /* content, link target, xattr value; session_open:
			    * facts, each {name, text} as buf_slice16() */
	struct lock_spec lock; /* lock, unlock; name: the holder's comm */
	uint64_t token; /* not 0: refuse with ESTALE unless it is the newest of
			 * the guard's lock; without gov.guard, the file's */
};

const char *command_name(enum command_kind); /* NULL: unknown */
uint32_t command_fields(enum command_kind);  /* F_* bits */

/* Appends; asserts that the command is within limits.h. */
void command_encode(struct buf *, const struct command *);
/*
 * Decodes exactly one command that fills bytes.  Everything is checked: sizes,
 * names (no '/', NUL, "." or ".."), known kind and flags.  -EBADMSG otherwise;
 * slices of ret point into bytes.
 */
int command_decode(struct slice bytes, struct command *ret);

/*
 * One log entry: commands that travel together.  Header {format, group, n,
 * time_ns}, then length and bytes of each; padded to a multiple of 8, which
 * libraft demands (facts: ALIGN).
 */
struct entry_header {
	uint16_t group;	  /* raft group; 0 until there are several */
	uint32_t n;	  /* commands, 1..LIMIT_ENTRY_COMMANDS */
	uint64_t time_ns; /* the leader's clock */
};
/* The buffer must be empty; header.n is ignored, entry_add() counts. */
void entry_begin(struct buf *, const struct entry_header *);
void entry_add(struct buf *, struct slice command_bytes);
void entry_end(struct buf *);
struct entry_reader {
	struct entry_header header;
	struct reader reader;
	uint32_t n_read;
};
int entry_open(struct slice bytes, struct entry_reader *ret); /* -EBADMSG */
/* 1: *ret is the next command's bytes; 0: at the end; -EBADMSG. */
int entry_next(struct entry_reader *, struct slice *ret);
/* All of an entry, each command decoded: 0 or -EBADMSG. */
int entry_check(struct slice bytes);

#endif
