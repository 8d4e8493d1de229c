/*
 * internal.h: the insides of a group, for the files of this room alone.
 *
 * io.c, fsm.c, forward.c, readindex.c, member.c and lease.c each own the
 * struct of their name in struct group; group.c owns the rest and the order of
 * a turn.
 *
 * Frames between members: {u16 group, u64 term that the sender leads or 0},
 * then what enum group_frame says.
 */
#ifndef GROUP_INTERNAL_H
#define GROUP_INTERNAL_H

#include <sys/queue.h>

#include "group/compat.h"
#include "group/group.h"
#include "group/guard.h"
#include "group/lease.h"
#include "group/wal.h"
#include "net/net.h"

/* Frame types on the small lane. */
enum group_frame {
	FRAME_APPEND = 1,    /* AppendEntries; a message may be several */
	FRAME_APPEND_RESULT, /* its answer */
	FRAME_VOTE,	     /* RequestVote */
	FRAME_VOTE_RESULT,
	FRAME_TIMEOUT_NOW, /* stand for election at once */
	FRAME_COMMIT,	   /* term, commit index, its entry's term */
	FRAME_FORWARD,	   /* n, commands for the leader */
	FRAME_NOTLEADER,   /* n, keys of commands that were not proposed */
	FRAME_READ,	   /* id: what is the read index? */
	FRAME_READ_REPLY,  /* id, errno, index */
	FRAME_TERM,	   /* id: what is your term? */
	FRAME_TERM_REPLY,  /* id, term */
	FRAME_GOSSIP,	   /* applied, rev, replayed */
	FRAME_RENEW,	   /* id, session, n, nodes refreshed */
	FRAME_RENEW_REPLY, /* id, errno */
	FRAME_REFRESHED,   /* n, {node, wall ns}: as the leader knows */
};

#define FRAME_HEADER_LEN 10
#define GROUP_NUMBER 0 /* until there are several */
/* Times a loop turn begins anew because publishing made new commands. */
#define TURN_ROUNDS 4
/* Commands applied in one transaction; replaying a log makes many turns. */
#define FSM_TURN_COMMANDS 512
/* Bytes of other hosts' commands that wait for a leader to be ready. */
#define FORWARD_QUEUE_BYTES (64u << 20)
/* Others have the loop if they took it that often, at more than that for each
 * of our writes: then it waits for no disk.  One client's put is 2 or 3. */
#define CROWD_PER_MS 3
#define CROWD_PER_WRITE 4
/* A frame of AppendEntries, unless one entry is longer. */
#define APPEND_FRAME_BYTES (1u << 20)
/* A buffer that once held more gives its memory back. */
#define SCRATCH_KEEP_BYTES (2 * APPEND_FRAME_BYTES)
/* Not acknowledged bytes of AppendEntries queued for one peer. */
#define APPEND_WINDOW_BYTES (8u << 20)

/* ---- member.c: the others, as far as we hear of them ---- */

struct member {
	struct group_member_conf conf;
	bool self;
	bool up;	      /* frames can be sent to it */
	uint64_t leads;	      /* term it said it leads; 0: none */
	uint64_t heard_ns;    /* last whole frame */
	uint64_t applied, rev, replayed; /* as it said */
	raft_index noticed;   /* commit index it was last told */
	raft_index cut;	      /* AppendEntries were cut before that; 0: no */
	uint64_t term_query;  /* newest of our term queries that it answered */
	bool complained;      /* logged that it sends garbage, once */
};

/* ---- io.c ---- */

struct io_write; /* an append or truncate on its way to the disk */
struct io_sent;	 /* a send to complete at the end of the turn */

struct io {
	struct raft_io raft_io;
	raft_io_tick_cb tick;
	raft_io_recv_cb recv;
	raft_io_close_cb close;	  /* close is wanted */
	STAILQ_HEAD(, io_write) writes; /* not on disk yet, in order */
	STAILQ_HEAD(, io_sent) sent;
	STAILQ_HEAD(, io_sent) idle_sends; /* for reuse */
	unsigned n_writes;	  /* of writes: the log has them now */
	bool refused;		  /* no room: the next tick tries again */
	uint64_t last_index;	  /* newest entry, writes included */
	uint64_t term, vote;	  /* as the core wants them kept */
	bool unsettled;		  /* not on disk yet */
	bool swallow;		  /* the core's next answer goes nowhere */
	uint64_t stood_term;	  /* newest term that we wanted to lead */
	bool stood_early;	  /* at the start, before the timeout */
	bool tick_soon;		  /* an election is due before the next tick */
	uint64_t known_commit;	  /* at the start */
	uint64_t clock_real_ns, clock_ms; /* the core's time at the last tick */
	/* The newest notice of a commit, for followers. */
	uint64_t notice_term, notice_index, notice_index_term;
	raft_id notice_from;
	struct raft_entry *loaded; /* the log, until the core takes it */
	size_t n_loaded, cap_loaded;
	struct buf frame;	  /* scratch */
};

/* ---- fsm.c ---- */

struct fsm_item; /* one command of this turn, applied, not published */

struct fsm {
	struct raft_fsm raft_fsm;
	struct store_txn *txn;	/* of this turn, or NULL */
	uint64_t index;		/* applied up to here, in txn or before */
	uint64_t last_ns;	/* time of the newest command applied */
	struct fsm_item *items; /* owned; cap_items */
	size_t n_items, cap_items;
	bool flushing;
};

/* ---- forward.c ---- */

TAILQ_HEAD(pending_list, group_pending);

struct forward {
	struct group_pending **table; /* by key; FORWARD_BUCKETS */
	struct pending_list waiting;  /* for a leader, as submitted */
	struct pending_list sent;     /* to the leader, as submitted */
	struct pending_list idle;     /* for reuse */
	unsigned n_pending, n_sent, n_idle;
	uint64_t last_place; /* of the newest command submitted */
	struct buf theirs;   /* other hosts' commands: u64 peer, u32 len, ... */
	size_t theirs_read;  /* bytes of it proposed already */
	unsigned n_theirs;
	struct buf scratch;  /* an entry or a frame in the making */
	unsigned n_entries;  /* proposed and not yet applied */
	uint32_t n_flying;   /* commands in them */
	uint32_t crowd;	     /* commands that are under way at once, lately */
	uint32_t peak;	     /* ... since the last entry was proposed */
	uint64_t moved_ns;   /* when an entry was proposed or applied last */
	uint64_t took_ns;    /* from the one to the other, of the last one */
	uint64_t last_ns;    /* time of the newest command proposed */
	uint64_t retry_ns;   /* not before that; 0: at once */
	SLIST_HEAD(, apply_req) idle_applies;
};

/* ---- readindex.c ---- */

TAILQ_HEAD(read_list, group_read);

struct readindex {
	struct read_list asking;   /* not yet sent, or to be sent again */
	struct read_list asked;	   /* sent to the leader, or in our query */
	struct read_list known;	   /* index known, not yet published */
	struct read_list done;	   /* to be told */
	uint64_t query;		   /* number of the newest question */
	unsigned n_theirs;	   /* reads of other members */
};

/* ---- group.c ---- */

struct group {
	struct group_conf conf; /* strings owned, defaults filled in */
	const struct group_ops *ops;
	void *ops_arg;
	struct store *store; /* borrowed */
	struct wal *wal;
	struct net *net;
	struct raft raft;
	struct guard guard;
	struct io io;
	struct fsm fsm;
	struct forward forward;
	struct readindex readindex;
	struct lease lease; /* lease.h */
	struct member members[LIMIT_MEMBERS];
	unsigned n_members;
	struct member *self;
	uint64_t rev, replayed; /* of this host, as reported */
	bool report_changed;
	unsigned ticks;		/* since the others were told last */
	/* Since the last tick: turns of the loop that were not for us, and
	 * writes to the log; and whether that was a crowd. */
	unsigned n_foreign, n_written;
	bool crowded;

	uv_timer_t tick;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;		/* active: there is work for another turn */
	uv_timer_t gather;	/* active: what waits may become an entry */
	unsigned n_handles;	/* open, of the five above */
	bool started;		/* the core runs */
	bool in_turn;
	bool wanted;		/* somebody called group_wake() */
	bool failed;		/* fatal was called */

	raft_index published;	/* log index that readers here can see */
	uint64_t epoch_leader, epoch_term; /* leader as seen last */
	int epoch_role;		/* state as seen last */
	enum group_health health;
	uint64_t since_ns;	/* of health */
	uint64_t lost_ns;	/* when the leader was lost; 0: there is one */
	bool ever_ok;
	uint64_t contact_ns;	/* while health is ok: proof of it */
	bool handed_over;	/* stopping: leadership was given away */
	bool transferring;
	struct raft_transfer transfer;
	char quarantine[256];	/* "" : none */

	bool stopping;		/* no new commands */
	uint64_t stop_ns;	/* give up waiting */
	bool closing;		/* the core was told to close */
	void (*stop_cb)(void *);
	void *stop_arg;
};

/* group.c */
void group_fatal(struct group *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool group_leads(struct group *);	   /* leader, own entry committed */
struct member *group_leader(struct group *); /* NULL: unknown; may be self */
void group_wake(struct group *);	   /* there is work: another turn */

/* member.c */
void member_init(struct group *);
struct member *member_find(struct group *, uint64_t id);
int member_open_net(struct group *);
/* It sent `what`, which makes no sense: logged once, its connection closed. */
void member_hang_up(struct group *, struct member *, const char *what);
unsigned member_alive(struct group *);
bool member_is_alive(struct group *, const struct member *);
uint64_t member_majority_heard_ns(struct group *);
void member_tick(struct group *); /* gossip */
/* Empties a buffer that is used again and again; a big one is given back. */
void scratch_reset(struct buf *);
/* A frame's header in an emptied scratch buffer. */
void frame_begin(struct group *, struct buf *);
int frame_send(struct group *, struct member *, enum group_frame,
    const struct buf *);

/* io.c */
void io_init(struct group *);
void io_fini(struct group *);
/* Reads the log, applies what is committed: up to there. */
int io_load(struct group *, const struct wal_recovery *, uint64_t upto);
void io_settle(struct group *);	      /* term and vote are on disk */
void io_close_turn(struct group *);
/* One command is on its way to the log, and nobody else has the loop. */
bool io_alone(struct group *);
bool io_full(struct group *); /* no room on disk: as if cut off */
void io_tick(struct group *);

/* io_peer.c */
void io_peer_init(struct group *);
void io_peer_fini(struct group *);
int io_send(struct raft_io *, struct raft_io_send *,
    const struct raft_message *, raft_io_send_cb);
void io_complete_sends(struct group *);
void io_frame(struct group *, struct member *, enum group_frame,
    struct reader *);
void io_peer_up(struct group *);
void io_peer_down(struct group *, struct member *, int err);
void io_notice(struct group *);	 /* tell followers of a new commit */
void io_notice_deliver(struct group *); /* tell the core, as a follower */

/* fsm.c */
void fsm_init(struct group *);
void fsm_fini(struct group *);
void fsm_entry(struct group *, uint64_t index, uint64_t term, struct slice);
void fsm_flush(struct group *);

/* forward.c */
void forward_init(struct group *);
void forward_fini(struct group *);
void forward_propose(struct group *); /* own and others', as the role wants */
void forward_epoch(struct group *);   /* another leader, or a new connection */
void forward_lost(struct group *);    /* no leader for too long: end all */
void forward_tick(struct group *);    /* send again, give up */
void forward_frame(struct group *, struct member *, enum group_frame,
    struct reader *);
/* Finds who waits for that command here, and takes it out: the cookie. */
void *forward_take(struct group *, const struct command *);
bool forward_busy(struct group *);
/* The leader's own commands, stamped here: one entry now, or -EAGAIN.  Nobody
 * is told of their outcome, and nobody else ever proposes them. */
int forward_lead(struct group *, struct command *, unsigned n);

/* readindex.c */
void readindex_init(struct group *);
void readindex_fini(struct group *);
void readindex_turn(struct group *);
void readindex_epoch(struct group *);
void readindex_tick(struct group *);
void readindex_fail(struct group *, int err); /* ends all */
void readindex_frame(struct group *, struct member *, enum group_frame,
    struct reader *);
/* Asks the voters whether we still lead: renew_confirmed() hears it, unless
 * group_read_cancel() comes first.  NULL: no memory. */
struct group_read *readindex_confirm(struct group *);

/* renew.c */
void renew_frame(struct group *, struct member *, enum group_frame,
    struct reader *);

#endif
