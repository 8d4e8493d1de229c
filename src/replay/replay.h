/*
 * replay.h: re-enacting remote commits in this host's kernel.
 *
 * Remote changes queue here in their order.  One at a time the helper process
 * makes the system call that leads the kernel's view K from the old state to
 * the new one, which is what wakes inotify watchers; mount recognises its
 * requests by pid and asks replay_enact_*() what to answer.  Where a local
 * change has crossed a remote one, the names concerned are *reconciled*: driven
 * from K to C by the calls that lead there.
 *
 * cursor is the revision up to which the kernel has been told everything.
 * Loop thread only; nothing here waits.
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include <sys/types.h>
#include <uv.h>

#include "engine/engine.h"
#include "replay/kview.h"
#include "replay/protocol.h"

struct replay;

struct replay_conf {
	uv_loop_t *loop;
	struct engine *engine;
	struct kview *kview;
	int mount_fd; /* detached clone of our mount, O_PATH; borrowed */
	/* The cursor has moved, or the queue has become empty. */
	void (*moved)(void *arg);
	/* Tell the kernel that its attributes of a node are no longer true. */
	void (*invalidate)(void *arg, uint64_t ino);
	/* Before a request of the helper is judged or its answer awaited: a
	 * directory was renamed by a replay (parked OPENs care). */
	void (*dir_renamed)(void *arg);
	void *arg;
};

int replay_open(const struct replay_conf *, struct replay **ret);
/* Stops the helper; cb on the loop when it is gone. */
void replay_stop(struct replay *, void (*cb)(void *), void *arg);
void replay_free(struct replay *); /* NULL is fine */

/* A commit of another host; `born` if it made a file with its first content. */
void replay_push(struct replay *, const struct change *, bool born);
/* Drive this name from K to C, as soon as its turn comes.  `force`: an unborn
 * name over nothing goes as well. */
void replay_reconcile(struct replay *, uint64_t dir, struct slice name,
    bool force);
/*
 * A node outside the tree has changed: the helper touches it, so that whoever
 * watches it is woken.  It does so when no change waits, or after
 * LIMIT_GOV_NEWS_MS all the same; no revision depends on it.  The caller owns
 * the news until told, which is exactly once, from the loop, unless
 * replay_stop() comes first.
 */
struct replay_news {
	uint64_t ino;
	bool is_dir;
	char path[HELPER_PATH]; /* from the root, no slash before it */
	void (*told)(struct replay_news *);
	uint64_t queued_ns; /* replay's, as are these */
	struct replay_news *prev, *next;
};
void replay_tell(struct replay *, struct replay_news *);
/* Begin what the turn has queued. */
void replay_pump(struct replay *);

uint64_t replay_cursor(const struct replay *);
unsigned replay_length(const struct replay *);
uint64_t replay_oldest_ns(const struct replay *); /* 0: nothing waits */
pid_t replay_pid(const struct replay *);	  /* of the helper; 0: none */

/*
 * A request with replay_pid() has come from the kernel.  One operation is under
 * way at a time, so it is that one's.  Each moves K and
 * returns 0, or a negative errno when it isn't what was asked for.
 */
/* MKNOD, MKDIR, SYMLINK, UNLINK, RMDIR (name2 empty), RENAME; LINK with the new
 * name, and in the place of dir2 the node. */
int replay_enact_name(struct replay *, uint64_t dir, struct slice name,
    uint64_t dir2, struct slice name2, uint64_t *ret_ino);
/* OPEN or SETATTR of a node, or of what there is news of. */
int replay_enact_node(struct replay *, uint64_t ino);
/* The helper is taking a name from the node: answered, not returned yet. */
bool replay_unlinks(const struct replay *, uint64_t ino);

#endif
