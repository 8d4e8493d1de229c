/*
 * protocol.h: what daemon and replay helper say to each other.
 *
 * One SOCK_SEQPACKET datagram per operation and per answer; both ends are the
 * same program on the same host, so structs travel as they are.
 */
#ifndef REPLAY_PROTOCOL_H
#define REPLAY_PROTOCOL_H

#include <stdint.h>

#include "base/limits.h"

enum helper_op {
	HELPER_MKNOD = 1, /* IN_CREATE */
	HELPER_BORN,	  /* IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE */
	HELPER_BORN_EMPTY, /* IN_CREATE, IN_CLOSE_WRITE */
	HELPER_MKDIR,
	HELPER_SYMLINK,
	HELPER_LINK, /* dir/name gets the further name dir2/name2 */
	HELPER_UNLINK,
	HELPER_RMDIR,
	HELPER_RENAME,
	HELPER_EXCHANGE,
	HELPER_CONTENT, /* IN_MODIFY, IN_CLOSE_WRITE */
	HELPER_ATTRIB,	/* IN_ATTRIB */
	HELPER_MTIME,	/* IN_MODIFY: mtime alone, or truncate(2) */
	HELPER_ATIME,	/* IN_ACCESS */
	HELPER_TELL,	/* IN_MODIFY, IN_CLOSE_WRITE; by its path */
	HELPER_TELL_DIR, /* IN_MODIFY; the same */
};

#define HELPER_PATH (2 * (LIMIT_NAME + 1))

struct helper_request {
	uint64_t id;
	uint32_t op;	    /* enum helper_op */
	uint32_t mode;	    /* of new nodes */
	uint64_t dir, dir2; /* nodeids of directories */
	union {
		struct {
			char name[LIMIT_NAME + 1], name2[LIMIT_NAME + 1];
		};
		char path[HELPER_PATH]; /* HELPER_TELL*: from the root */
	};
};

struct helper_answer {
	uint64_t id; /* 0: the helper is ready */
	int32_t err; /* 0 or a negative errno */
	uint32_t step; /* which of its system calls failed, for the log */
};

/* File descriptors that the helper finds open. */
#define HELPER_FD_SOCKET 3
#define HELPER_FD_MOUNT 4 /* O_PATH root of the detached mount */

/* The helper's main(); returns when the daemon is gone.  replay_child.c */
int replay_child(void);

#endif
