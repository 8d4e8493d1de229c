/*
 * posix.h: a naive tree of files, to compare the machine with.
 *
 * Written from CONTRACT.md and the manual pages, with plain arrays and linear
 * searches, and without any code of tree or machine.
 */
#ifndef TESTS_MODEL_POSIX_H
#define TESTS_MODEL_POSIX_H

#include "command/command.h"
#include "command/outcome.h"

enum {
	POSIX_NODES = 64, POSIX_NAMES = 256, POSIX_XATTRS = 8, POSIX_FILE = 128,
	POSIX_VALUE = 32, POSIX_SESSIONS = 512, POSIX_KEPT = 64,
};

struct posix_xattr {
	char name[16];
	size_t len;
	char value[POSIX_VALUE];
};

struct posix_node {
	struct attr attr;
	char data[POSIX_FILE]; /* attr.size bytes */
	unsigned n_xattrs;
	struct posix_xattr xattrs[POSIX_XATTRS];
};

struct posix_name {
	uint64_t dir;
	char name[8];
	uint64_t ino; /* 0: it was removed at rev */
	uint64_t rev;
};

struct posix_session {
	uint64_t id, host, range, done_below;
	bool alive;
	unsigned n_kept;
	uint64_t kept[POSIX_KEPT]; /* seqs answered, from done_below on */
};

struct posix {
	uint64_t rev, time_ns;
	uint64_t max_file, max_bytes, max_inodes;
	struct posix_node nodes[POSIX_NODES];
	unsigned n_nodes;
	struct posix_name *names; /* owned; removed ones too */
	unsigned n_names, cap_names;
	struct posix_session sessions[POSIX_SESSIONS];
	unsigned n_sessions;
};

struct posix_result {
	int err;
	bool retry;	/* answered before: the kept outcome is due */
	bool changed;	/* it made revision posix->rev */
	uint64_t ino;	/* when err is 0 and a node is concerned */
	uint64_t value; /* session_open */
};

void posix_init(struct posix *, uint64_t time_ns);
void posix_fini(struct posix *);
void posix_apply(struct posix *, const struct command *, uint64_t time_ns,
    struct posix_result *ret);
struct posix_node *posix_node(struct posix *, uint64_t ino);
/* The live name, or NULL. */
struct posix_name *posix_name(struct posix *, uint64_t dir, struct slice name);
struct posix_session *posix_session(struct posix *, uint64_t id);

#endif
