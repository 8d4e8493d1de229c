/*
 * outcome.h: what a command did.
 *
 * The same on every host.  err is what the caller of the system call gets.
 * changes is what watchers may care about, in order, with enough of the old
 * and new state to re-enact it in a kernel that has not seen it yet.
 */
#ifndef COMMAND_OUTCOME_H
#define COMMAND_OUTCOME_H

#include <sys/types.h>

#include <errno.h>

#include "base/limits.h"
#include "base/slice.h"

/*
 * Two refusals that no caller of a system call gets to see; such a command was
 * not applied and never will be.  The first: its session is unknown or ended;
 * its proposer opens a new one and asks again.  The second: its seq lies below
 * done_below (it has been answered) or LIMIT_WINDOW or more above it.
 */
#define OUTCOME_ESESSION EKEYREJECTED
#define OUTCOME_EWINDOW EKEYEXPIRED

/* A node's attributes: what stat(2) shows, equal on all hosts (CONTRACT F7). */
struct attr {
	uint64_t ino;
	uint32_t mode; /* type and permissions */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size;	   /* bytes; of a symlink: its target's length */
	uint64_t rev;	   /* revision of the last content change: its version */
	uint64_t attr_rev; /* revision of the last change of any kind */
	uint64_t atime_ns, mtime_ns, ctime_ns; /* since the epoch */
};

enum change_kind {
	CHANGE_CREATE,	/* dir/name now is node (file, empty or born) */
	CHANGE_MKDIR,	/* dir/name now is node */
	CHANGE_SYMLINK,	/* dir/name now is node */
	CHANGE_LINK,	/* dir/name now is node too; old/attr are node's */
	CHANGE_UNLINK,	/* dir/name was node; attr.nlink may be 0 now */
	CHANGE_RMDIR,	/* dir/name was node */
	CHANGE_RENAME,	/* dir/name was node; dir2/name2 is it now, and was
			 * node2 (0: absent) */
	CHANGE_EXCHANGE, /* dir/name and dir2/name2 have swapped node, node2 */
	CHANGE_CONTENT,	/* node has new content (attr.rev) */
	CHANGE_ATTR,	/* node has new mode, owner, times or xattrs */
	CHANGE_GRANT,	/* a waiting lock of (session, seq) on node is granted;
			 * no replay, no event */
	CHANGE_LOCKS,	/* holders or waiters of node have changed; the same */
};

struct change {
	enum change_kind kind;
	uint64_t rev;	/* the commit's */
	uint64_t dir, dir2; /* parents; of CONTENT and ATTR: one parent in the
			     * committed tree, with name; 0: none left */
	uint64_t node, node2;
	char name[LIMIT_NAME + 1], name2[LIMIT_NAME + 1];
	struct attr old;   /* node before; ino 0: did not exist */
	struct attr attr;  /* node after; nlink 0: gone */
	struct attr old2;  /* node2 before; ino 0: none */
	struct attr attr2; /* node2 after */
	struct attr dir_attr, dir2_attr; /* the parents after, for names */
	struct attr dir_old, dir2_old;	 /* the parents before, for names */
	uint64_t session, seq; /* GRANT: of the lock command that waited */
	uint64_t token;	       /* GRANT: the fencing token */
	bool aside; /* no system call at the proposer asked for it: it went
		     * along with the command, and is news to his kernel too */
	bool size_only_grew; /* CONTENT: the old bytes are a prefix of the new */
	bool truncated;	     /* CONTENT: by truncate(2), without an open */
	bool times_only;     /* ATTR: nothing but times changed */
	bool atime_set, mtime_set; /* ATTR with times_only: which were given */
};

struct outcome {
	int err;	 /* 0 or a negative errno */
	uint64_t rev;	 /* revision this command made; 0: no change */
	uint64_t ino;	 /* the node concerned: new, written, linked */
	uint64_t value;	 /* session_open: the range's first inode number;
			  * lock: the fencing token, 0: it waits in the queue */
	struct attr attr; /* of ino afterwards; attr.ino 0: none */
	bool fenced;	 /* ESTALE because of a guard or token, not of a name */
	const char *reason; /* err != 0: one sentence, static; or NULL.  Of a
			     * session_open: why nodes/ doesn't tell of the
			     * host; ino stands in the way */
	unsigned n_changes;
	struct change *changes; /* owned; NULL when there are none */
};

void outcome_init(struct outcome *);
void outcome_fini(struct outcome *);
/* A zeroed change at the end of the list; never NULL (aborts on no memory). */
struct change *outcome_add(struct outcome *, enum change_kind);

#endif
