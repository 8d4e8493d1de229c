/*
 * limits.h: every bound of govfs, with its reason.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* POSIX names; also what one LMDB key (511 bytes) holds with its prefix. */
#define LIMIT_NAME 255
#define LIMIT_PATH 4096
/* Symlink targets: PATH_MAX less the NUL, as on ext4. */
#define LIMIT_SYMLINK 4095
/* What a host tells of itself in nodes/: files, and their bytes. */
#define LIMIT_HOST_FACTS 8
#define LIMIT_HOST_FACTS_BYTES 4096
/* Of each session's inode numbers, the last: the machine's, for those files,
 * their three companions, and two directories. */
#define LIMIT_HOST_NODES (LIMIT_HOST_FACTS + 5)
/* Configuration, not data: one commit must travel as one Raft entry. */
#define LIMIT_FILE_DEFAULT (1u << 20)
#define LIMIT_FILE_MAX (4u << 20)
/* xattr(7): names like files, values that fit beside each other in a page. */
#define LIMIT_XATTR_NAME 255
#define LIMIT_XATTR_VALUE 4096
#define LIMIT_XATTRS 64
/* NGROUPS that travel with a command: more cost bytes on every commit. */
#define LIMIT_GROUPS 32
/* A command is one file's content plus names and stamp. */
#define LIMIT_COMMAND (LIMIT_FILE_MAX + 16384)
/* Commands share an entry up to this, or one command. */
#define LIMIT_ENTRY (1u << 20)
#define LIMIT_ENTRY_COMMANDS 4096
/* Outcomes remembered per session; a proposer has at most so many unanswered. */
#define LIMIT_WINDOW 4096
/* TASK_COMM_LEN: a program's name, with its NUL. */
#define LIMIT_COMM 16
/* Holders and waiters of one node and of the tree; ENOLCK beyond.  Each command
 * about a node's locks looks at all of them. */
#define LIMIT_NODE_LOCKS 1024
#define LIMIT_LOCKS 65536
/* gov.lifetime ttl=: below, the leader would do little else; above, forever. */
#define LIMIT_TTL_MIN_MS 100
#define LIMIT_TTL_MAX_MS UINT64_C(31536000000)
/* Files and names that one session's end takes along, in one command: each is
 * a change of 1.3 KiB, on every host at once. */
#define LIMIT_SESSION_NODES 16384
/* gov.lock_delay: longer is an outage of its own. */
#define LIMIT_LOCK_DELAY_MS 60000
/* Waiters visited in search of a cycle: EDEADLK is a favour, not a promise,
 * to who has queued behind so many. */
#define LIMIT_DEADLOCK_WALK 1024
/* Hard links of one file, as on ext4. */
#define LIMIT_LINKS 65000
/* Directory depth: the reconnect walk and check.c are bounded by it. */
#define LIMIT_DEPTH 256
/* The default quotas of a tree: what a few MiB of RAM per host can serve. */
#define LIMIT_TREE_BYTES (UINT64_C(1) << 30)
#define LIMIT_TREE_INODES (UINT64_C(1) << 20)
/* What a further name of a file and an extended attribute count in the quota of
 * bytes, beside name and value: two keys, and one.  Where most neighbours of a
 * key are gone, the store has a page for it alone, four times as much. */
#define LIMIT_LINK_BYTES 2048
#define LIMIT_XATTR_BYTES 1024
/* What a tree at its quotas takes of each disk, in LIMIT_TREE_BYTES: one to three
 * in use, six at the worst that tests/unit/full.c makes, so many never.  Each node
 * has five keys, with a page for each that is 20; the rest counts as above, or is
 * content, six times as much where what comes next fits in no hole. */
#define LIMIT_TREE_STORE 32
/* LMDB map, to begin with: it grows (store_lmdb.c), and costs nothing but
 * addresses.  A quarter of it is more than one turn of the loop brings. */
#define LIMIT_MAP_BYTES (LIMIT_TREE_STORE * LIMIT_TREE_BYTES)
/* Blocks of the disk kept for the store's next commits, and as many again as it
 * has, up to the second: what is under way when the disk is full must fit. */
#define LIMIT_STORE_ROOM (UINT64_C(8) << 20)
#define LIMIT_STORE_ROOM_MAX (UINT64_C(32) << 20)
/* Names removed and remembered for rule P, newest kept. */
#define LIMIT_TOMBSTONES 65536
/* Raft members (voters and standbys); observers are not members. */
#define LIMIT_MEMBERS 9
/* One frame between peers: an entry plus the Raft header. */
#define LIMIT_FRAME (LIMIT_COMMAND + 65536)
/* Bytes queued for one peer before frames are dropped (Raft sends again). */
#define LIMIT_PEER_QUEUE (32u << 20)
/* Open handles: more than any sane host keeps open below /gov. */
#define LIMIT_HANDLES 65536
/* Memory that open handles hold, the contents and listings that they show, and
 * drafts.  A runaway program must not eat the host. */
#define LIMIT_HELD_BYTES (UINT64_C(256) << 20)
/* Of both, one user who isn't root has a half at most, and the last sixteenth is
 * root's alone, who puts things in order. */
#define LIMIT_USER_PART 2
#define LIMIT_ROOT_PART 16
/* Requests of the kernel taken in one loop turn before Raft gets its turn. */
#define LIMIT_TURN_REQUESTS 64
/* And so long: a close(2) that has to look through /proc takes its time. */
#define LIMIT_TURN_MS 5
/* Short answers that wait for each other: more don't gain by it. */
#define LIMIT_TURN_REPLIES 64
/* A parked request goes on after this (CONTRACT O3). */
#define LIMIT_PARK_MS 2000
/* fdinfo files read for one flush (facts: the flush rule). */
#define LIMIT_FDINFO 1024
/* Changes waiting for replay one by one: as many as a watcher's own queue holds
 * events (inotify's max_queued_events).  Beyond, a change is but remembered by
 * the names and nodes that it touches (kview_lag). */
#define LIMIT_REPLAY_QUEUE 16384
/* Changes and names looked at in one loop turn without a call of the helper: as
 * long as LIMIT_TURN_MS, about. */
#define LIMIT_TURN_REPLAYS 256
/* A call of the replay helper that lasts longer is logged with its name. */
#define LIMIT_REPLAY_CALL_MS 1000
/* News of .gov (dotgov_news.c): between two tellings, and how many files then.
 * Ten times a second is faster than anybody reads, and 160 calls of the helper
 * in a second, 20 us each, cost the replay of data less than a hundredth. */
#define LIMIT_GOV_NEWS_MS 100
#define LIMIT_GOV_NEWS 16
/* A file of .gov: all locks of the tree at a line each. */
#define LIMIT_GOV_TEXT (LIMIT_LOCKS * 256u)
/* Control socket: one JSON line, and clients at a time. */
#define LIMIT_CTL_LINE 65536
#define LIMIT_CTL_CLIENTS 64
/* A client that neither asks nor takes its answer for so many ticks of a second
 * makes room: who has connected to ask does so at once. */
#define LIMIT_CTL_IDLE 5
/* gov waits so long for a daemon: a digest reads a whole tree. */
#define LIMIT_CTL_ANSWER_S 20
/* Reasons remembered for `gov why`, newest kept. */
#define LIMIT_REASONS 1024

#endif
