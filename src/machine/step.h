/*
 * step.h: one command being applied; what the parts of the machine share.
 *
 * A handler first decides everything, then changes: it returns a negative errno
 * before its first put, or 0.  A handler that has changed nothing user-visible
 * leaves `changed` false: then there is no new revision.
 */
#ifndef MACHINE_STEP_H
#define MACHINE_STEP_H

#include "command/command.h"
#include "command/outcome.h"
#include "store/store.h"
#include "tree/tree.h"

struct step {
	struct store_txn *txn;
	const struct command *c;
	struct outcome *out;
	struct tree_meta meta;	/* as it will be put */
	uint64_t rev;		/* of the change, if there is one */
	uint64_t now_ns;	/* its time: after every earlier one */
	uint64_t range;		/* base of the session's inode numbers */
	bool session_ended;	/* the command's own, by the command */
	bool changed;		/* replicated, user-visible state */
	bool aside;		/* what changes now was not asked for */
	bool meta_changed;	/* meta without a revision: session_open */
};

/* The handlers, one per command. */
int file_create(struct step *);
int file_birth(struct step *);
int file_write(struct step *); /* and append */
int file_truncate(struct step *);
int dir_mkdir(struct step *);
int dir_symlink(struct step *);
int dir_link(struct step *);
int dir_unlink(struct step *);
int dir_rmdir(struct step *);
int dir_rename(struct step *);
int attr_set(struct step *);
int attr_xattr_set(struct step *);
int attr_xattr_remove(struct step *);

/* session.c: exactly once. */
struct machine_session {
	uint64_t id;
	uint64_t host;	     /* member id of who opened it */
	uint64_t range;	     /* ordinal of its inode range */
	uint64_t done_below; /* outcomes are kept from here on */
	uint64_t ttl_ms;     /* it may go without a renewal for so long */
	bool suspended;	     /* the leader has missed renewals of it */
	struct slice name;   /* of the host; borrowed */
};
enum session_entry { SESSION_NEW, SESSION_ANSWERED, SESSION_REFUSED };
int session_begin(struct step *); /* session_open */
int session_finish(struct step *); /* session_close, session_expire */
int session_suspend(struct step *); /* and resume */
bool session_of_host(struct step *, uint64_t host); /* has it one? */
/* A lock command that waited is granted: what a retry of it is told. */
void session_granted(struct step *, uint64_t session, uint64_t seq,
    uint64_t token);
/* Answers the session's command seq with EINTR before it has come: it will
 * never be applied.  False: it was, or was answered long ago. */
bool session_forestall(struct step *, uint64_t seq);
enum session_entry session_enter(struct step *);
void session_leave(struct step *);

/* host.c: nodes/, what the cluster knows of each host, as files. */
void host_begin(struct step *, const struct machine_session *);
void host_state(struct step *, const struct machine_session *,
    const char *state);

/* step.c: small decisions and changes that several handlers share. */
int step_refuse(struct step *, int err, const char *reason);
void step_answer(struct step *, const struct attr *); /* ino, attr */
struct change *step_change(struct step *, enum change_kind);
/* One name that a node has in the committed tree, for CONTENT and ATTR. */
void step_name_of(struct step *, uint64_t ino, struct change *);
bool step_in_group(const struct stamp *, uint32_t gid);
bool step_owner(const struct stamp *, const struct attr *);
/* The directory, for a change of its names: ENOENT, ENOTDIR. */
int step_dir(struct step *, uint64_t dir, struct attr *ret);
/* May the caller make names there, or take this one away? */
int step_may_make(struct step *, const struct attr *dir);
int step_may_remove(struct step *, const struct attr *dir,
    const struct attr *victim);
/* A directory's names have changed: its times and revisions. */
void step_touch_dir(struct step *, struct attr *dir);
/* May there be one more node, with the command's number? */
int step_may_be_born(struct step *, const struct attr *dir);
struct attr step_new_node(struct step *, const struct attr *dir, uint32_t mode,
    uint64_t ino);
/* A node has one name less, or none (now->nlink 0): then it goes, with all that
 * is its. */
void step_lose_name(struct step *, const struct attr *old,
    const struct attr *now);
/* What writes and chowns do to set-user-ID and set-group-ID. */
uint32_t step_drop_privileges(const struct step *, const struct attr *);
bool step_is_gov(uint64_t dir, struct slice name);
/* More bytes than the quota leaves? */
int step_bytes(struct step *, uint64_t old_size, uint64_t new_size);

/* If the node has gov.guard, it is one more or less. */
void step_count_guard(struct step *, uint64_t ino, int n);
/* gov.lock_delay of a node; 0: none. */
uint32_t step_lock_delay_ms(struct step *, uint64_t node);
/* "10s", "2m", "250ms"; a bare number counts seconds.  False: no duration. */
bool step_duration(struct slice text, uint64_t *ret_ms);

/* dir.c: everything asked of a name that is about to be made.  With fresh,
 * rule P: it hasn't changed since what the caller's kernel showed. */
int dir_may_name(struct step *, uint64_t dir, struct slice name, bool fresh,
    struct attr *ret_dir);
/* Makes it; fills the change's dir, name, dir_old, dir_attr. */
void dir_make_name(struct step *, struct attr *dir, struct slice name,
    const struct attr *node, struct change *);
/* Takes it from a node; fills and tells the change; now->nlink 0: it goes. */
void dir_take_name(struct step *, struct attr *dir, struct slice name,
    const struct attr *old, struct attr *now, enum change_kind);
void dir_set_name(char to[LIMIT_NAME + 1], struct slice name);
/* A directory in `dir`, nobody having been asked; sets its nlink. */
void dir_make(struct step *, struct attr *dir, struct slice name,
    struct attr *a);

/* file.c: the same for a file born with its content, and for new content. */
void file_make(struct step *, struct attr *dir, struct slice name,
    struct attr *a, struct slice content);
void file_replace(struct step *, const struct attr *old, struct slice content,
    bool only_grew, struct attr *ret);

/* attr.c: puts a node whose mode, owner or times differ from what it was. */
void attr_commit(struct step *, const struct attr *old, struct attr *now);

#endif
