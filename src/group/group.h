/*
 * group.h: this host's part in one Raft group, which puts commands in order.
 *
 * group_submit() hands a command in; the leader packs all commands of a loop
 * turn into one entry, a majority's disks keep it, and every host applies it
 * with the machine to its own store.  A submitted command is finished when it
 * has been applied HERE; it is found again by its stamp, so a change of leader
 * or a second try does no harm.
 *
 * What stands above is told through struct group_ops, always from the end of
 * a loop turn, never inside one of the calls below.  One loop thread owns all.
 */
#ifndef GROUP_GROUP_H
#define GROUP_GROUP_H

#include <uv.h>

#include "command/command.h"
#include "command/outcome.h"
#include "store/store.h"

struct group;
struct group_pending; /* a command under way, from submit to its end */
struct group_read;    /* a question to the leader, until its end */
struct group_renewal; /* word that a session lives, until its end */

#define GROUP_RENEW_NODES 4096 /* in one renewal */

struct group_member_conf {
	uint64_t id;	  /* never 0, never reused */
	char name[64];	  /* host name, unique in the group */
	char address[64]; /* host:port that the others dial */
};

struct group_conf {
	uv_loop_t *loop;	 /* borrowed */
	const char *dir;	 /* state directory; ours are files below it */
	uint8_t cluster[16];	 /* hosts of another cluster get nothing */
	uint64_t self;		 /* this host's member id, one of members */
	const char *listen;	 /* host:port; NULL: as in members */
	unsigned n_members;	 /* the same list on all of them */
	struct group_member_conf members[LIMIT_MEMBERS];
	unsigned election_ms;	 /* 0: 500 */
	unsigned heartbeat_ms;	 /* 0: 50 */
	unsigned write_timeout_ms; /* 0: 5000; CONTRACT O6 */
	/* The process has to end (disk, corruption); tests may look instead.
	 * NULL: log, exit(3), a supervisor starts it again. */
	void (*fatal)(void *arg, const char *why);
	void *fatal_arg;
	size_t segment_bytes;	 /* of the log; 0: its default */
	unsigned guards_off;	 /* tests only: enum guard_bit */
};

enum group_health { GROUP_OK, GROUP_SUSPENDED, GROUP_READONLY, GROUP_LOST };

struct group_status {
	enum group_health health;
	const char *role;	/* static */
	uint64_t leader, term, commit, applied;
	uint64_t since_ns;	/* clock_now_ns() of health's last change */
	unsigned n_voters, n_alive;
	const char *disk; /* what is wrong with it: a sentence, or NULL */
};

struct group_member_status {
	const struct group_member_conf *conf;
	bool leader, alive;
	uint64_t applied, rev, replayed; /* as last heard */
	uint64_t heard_ns; /* clock_now_ns() then; 0: never, or this host */
};

struct group_ops {
	/* In the turn's transaction: the log is applied up to there. */
	void (*stamp)(struct store_txn *, uint64_t index, uint64_t term);
	/* After the transaction's commit, in order.  cookie: what was given to
	 * group_submit(), NULL if nobody here waits.  Ends that request. */
	void (*applied)(void *arg, const struct command *,
	    const struct outcome *, void *cookie, uint64_t index);
	/* After the last one of a turn. */
	void (*turn)(void *arg);
	/* That request ended without an answer: -EROFS: never proposed;
	 * -ETIMEDOUT: nobody knows. */
	void (*failed)(void *arg, void *cookie, int err);
	/* A read has its answer: everything committed before is published. */
	void (*read)(void *arg, void *cookie, int err);
	/* A renewal: 0, -ESTALE: its session has ended; else: try again. */
	void (*renewed)(void *arg, void *cookie, int err);
	/* Health, role or leader have changed. */
	void (*status)(void *arg);
};

/*
 * Opens the log, applies to the store all that the log knows to be committed,
 * listens, and begins to take part.  Store and conf's loop are borrowed; the
 * store is applied up to applied_index.  A log that lost entries is no error:
 * the group is then quarantined (no vote, no proposals, reads go on).
 */
int group_open(const struct group_conf *, const struct group_ops *, void *arg,
    struct store *, uint64_t applied_index, struct group **ret);
/* Hands leadership over, ends everything under way, closes; then cb. */
void group_stop(struct group *, void (*cb)(void *), void *arg);
void group_free(struct group *); /* after cb; NULL is fine */

/* -EROFS, -EAGAIN; 0: cookie comes back once, by applied() or failed().
 * The command's bytes are kept by the group. */
int group_submit(struct group *, const struct command *, void *cookie,
    struct group_pending **ret);
/* True: it was proposed to nobody, and never will be; it is gone. */
bool group_withdraw(struct group *, struct group_pending *);
/* Forgets who waits; the command may still be applied, with cookie NULL. */
void group_abandon(struct group *, struct group_pending *);

int group_read(struct group *, void *cookie, struct group_read **ret);
void group_read_cancel(struct group *, struct group_read *);

/* Tells the leader that the session lives and that these ttl files were
 * refreshed; nodes are borrowed until the answer.  -EROFS, -EAGAIN. */
int group_renew(struct group *, uint64_t session, const uint64_t *nodes,
    unsigned n, void *cookie, struct group_renewal **ret);
void group_renew_cancel(struct group *, struct group_renewal *);
/* When a ttl file was refreshed, by the leader's wall clock; 0: not known. */
uint64_t group_refreshed_ns(struct group *, uint64_t node);
/* When a session was last renewed, clock_now_ns(); the leader knows, else 0. */
uint64_t group_renewed_ns(struct group *, uint64_t session);
/* The group has one voter: nothing is decided without this host. */
bool group_alone(struct group *);

void group_status(struct group *, struct group_status *ret);
unsigned group_members(struct group *, struct group_member_status *ret,
    unsigned max);
bool group_writable(struct group *);
const struct group_member_conf *group_member_find(struct group *, uint64_t id);
/* What the other hosts are told about this one. */
void group_report(struct group *, uint64_t rev, uint64_t replayed);

#endif
