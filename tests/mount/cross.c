/*
 * cross.c: local and remote changes on the same few names.
 *
 * Processes of this host and a remote host change 4 directories of 6 names as
 * fast as they can, a watcher keeps a model of the listings from its events.
 * When all is calm the kernel's view is the committed tree, and the model the
 * listing (W1); no call took longer than 2 s (O7).
 *
 * cross.t [SECONDS [REMOTE_PER_S [COMMIT_MS [SEED [SCENARIO]]]]]; scenario
 * "helper" kills the replay helper again and again.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/player.h"
#include "pace.h"
#include "tap.h"
#include "tree/tree.h"

enum { N_DIRS = 4, N_NAMES = 6, N_USERS = 3, N_READERS = 2 };

/* Places in stage->user. */
enum { CALLS, SLOWEST_US, SLOWEST_OP, UNEXPECTED, STALE, DUPLICATES, UNKNOWN,
	OVERFLOW, MODEL_WRONG, EVENTS, QUIT, READY, LAST_ERRNO, LAST_OP };

static struct stage *stage;
static bool trace; /* in the environment: TRACE */

/* ---- the remote host ---- */

static uint64_t dirs[N_DIRS];

static uint64_t
get(struct store_txn *t, uint64_t dir, const char *name, struct attr *ret)
{
	struct tree_name n;

	if (dir == 0 || !tree_name_get(t, dir, slice_str(name), &n) ||
	    !tree_node_get(t, n.ino, ret))
		return 0;
	return n.ino;
}

/* One of the directories, or one that somebody has made in them. */
static uint64_t
some_dir(struct remote *r, struct store_txn *t)
{
	uint64_t dir = dirs[rnd(&r->rng, N_DIRS)], ino;
	char name[8];
	struct attr a;

	if (rnd(&r->rng, 5) == 0) {
		snprintf(name, sizeof name, "n%u", rnd(&r->rng, N_NAMES));
		ino = get(t, dir, name, &a);
		if (ino != 0 && S_ISDIR(a.mode))
			return ino;
	}
	return dir;
}

static void
remote_step(struct remote *r)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	char name[8], name2[8], data[64];
	struct attr a, a2;
	struct command c = {0};
	uint64_t ino2;

	if (dirs[N_DIRS - 1] == 0) {
		for (int i = 0; i < N_DIRS; i++) {
			snprintf(name, sizeof name, "d%d", i);
			dirs[i] = get(t, TREE_ROOT, name, &a);
		}
		store_abort(t);
		return;
	}
	snprintf(name, sizeof name, "n%u", rnd(&r->rng, N_NAMES));
	snprintf(name2, sizeof name2, "n%u", rnd(&r->rng, N_NAMES));
	c.dir = some_dir(r, t);
	c.dir2 = some_dir(r, t);
	c.name = slice_str(name);
	c.name2 = slice_str(name2);
	c.node = get(t, c.dir, name, &a);
	ino2 = c.node2 = get(t, c.dir2, name2, &a2);
	snprintf(data, sizeof data, "remote %llu %.*s\n",
	    (unsigned long long)r->seq, (int)rnd(&r->rng, 40),
	    "........................................");
	c.data = slice_str(data);
	if (c.node == 0) {
		c.ino = remote_ino(r);
		c.mode = S_IFREG | 0644;
		switch (rnd(&r->rng, 8)) {
		case 0:
			c.kind = COMMAND_mkdir;
			c.mode = S_IFDIR | 0755;
			break;
		case 1:
			c.kind = COMMAND_symlink;
			break;
		case 2:
			c.kind = COMMAND_create;
			c.flags = CREATE_EXCL;
			break;
		case 3:
			if (ino2 != 0 && !S_ISDIR(a2.mode)) {
				c.kind = COMMAND_link;
				c.node = ino2;
				break;
			}
			/* fallthrough */
		default:
			c.kind = COMMAND_birth;
		}
	} else if (S_ISDIR(a.mode) && rnd(&r->rng, 2) == 0) {
		c.kind = COMMAND_rmdir;
	} else {
		switch (rnd(&r->rng, 9)) {
		case 0:
		case 1:
			c.kind = COMMAND_unlink;
			break;
		case 2:
		case 3:
			c.kind = COMMAND_rename;
			break;
		case 4:
			c.kind = COMMAND_rename;
			c.flags = RENAME_FLAG_EXCHANGE;
			break;
		case 5:
			c.kind = COMMAND_setattr;
			c.flags = SETATTR_MODE;
			c.mode = 0600 | rnd(&r->rng, 0100);
			break;
		case 6:
			c.kind = COMMAND_append;
			break;
		case 7:
			c.kind = COMMAND_truncate;
			c.size = rnd(&r->rng, 20);
			break;
		default:
			c.kind = COMMAND_write;
		}
	}
	store_abort(t);
	remote_submit(r, &c);
}

static void
remote_tick(struct remote *r)
{
	for (unsigned n = remote_due(r); n > 0; n--)
		remote_step(r);
}

/* ---- processes of this host ---- */

static const char *const op_names[] = {"create", "excl", "write", "append",
	"unlink", "rename", "exchange", "mkdir", "rmdir", "link", "symlink",
	"chmod", "truncate", "read", "list", "stat", "noreplace", "mknod"};

static bool
expected(int err)
{
	/* EPERM: hard links of directories. */
	return err == ENOENT || err == EEXIST || err == ENOTDIR ||
	    err == EPERM ||
	    err == EISDIR || err == ENOTEMPTY || err == ELOOP ||
	    err == EINVAL || err == EBUSY || err == ESTALE;
}

static void
some_path(unsigned *rng, char *path, size_t size)
{
	if (rnd(rng, 6) == 0)
		snprintf(path, size, "%s/d%u/n%u/n%u", stage->mnt,
		    rnd(rng, N_DIRS), rnd(rng, N_NAMES), rnd(rng, N_NAMES));
	else
		snprintf(path, size, "%s/d%u/n%u", stage->mnt,
		    rnd(rng, N_DIRS), rnd(rng, N_NAMES));
}

static int
put(const char *path, int flags, const char *text)
{
	int fd = open(path, flags | O_CLOEXEC, 0644), err = 0;

	if (fd < 0)
		return -1;
	if (text != NULL && write(fd, text, strlen(text)) < 0)
		err = errno;
	if (close(fd) != 0 && err == 0)
		err = errno;
	errno = err;
	return err == 0 ? 0 : -1;
}

static int
list(const char *path)
{
	DIR *d = opendir(path);

	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		;
	return closedir(d);
}

static int
one_call(unsigned *rng, unsigned op)
{
	char path[128], path2[128], text[64];
	struct stat st;
	int fd;

	some_path(rng, path, sizeof path);
	some_path(rng, path2, sizeof path2);
	snprintf(text, sizeof text, "local %u\n", rnd(rng, 1000000));
	switch (op) {
	case 0:
		return put(path, O_WRONLY | O_CREAT | O_TRUNC, text);
	case 1:
		return put(path, O_WRONLY | O_CREAT | O_EXCL, text);
	case 2:
		return put(path, O_WRONLY | O_TRUNC, text);
	case 3:
		return put(path, O_WRONLY | O_APPEND | O_CREAT, text);
	case 4:
		return unlink(path);
	case 5:
		return rename(path, path2);
	case 6:
		return renameat2(AT_FDCWD, path, AT_FDCWD, path2,
		    RENAME_EXCHANGE);
	case 7:
		return mkdir(path, 0755);
	case 8:
		return rmdir(path);
	case 9:
		return link(path, path2);
	case 10:
		return symlink(text, path);
	case 11:
		return chmod(path, 0600 | rnd(rng, 0100));
	case 12:
		return truncate(path, rnd(rng, 20));
	case 13:
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return -1;
		if (read(fd, text, sizeof text) < 0 && errno != EISDIR) {
			close(fd);
			return -1;
		}
		return close(fd);
	case 14:
		snprintf(path, sizeof path, "%s/d%u", stage->mnt,
		    rnd(rng, N_DIRS));
		return list(path);
	case 15:
		return lstat(path, &st);
	case 16:
		return renameat2(AT_FDCWD, path, AT_FDCWD, path2,
		    RENAME_NOREPLACE);
	default:
		return mknod(path, S_IFREG | 0644, 0);
	}
}

static void
user(unsigned seed, bool reads_only)
{
	unsigned rng = seed * 7919 + 13, op;
	uint64_t at, took;

	while (stage->user[QUIT] == 0) {
		op = reads_only ? 13 + rnd(&rng, 3) : rnd(&rng, 18);
		at = pace_us();
		if (one_call(&rng, op) != 0) {
			if (!expected(errno)) {
				stage->user[UNEXPECTED]++;
				stage->user[LAST_ERRNO] = (uint64_t)errno;
				stage->user[LAST_OP] = op;
			}
			if (errno == ESTALE)
				__atomic_add_fetch(&stage->user[STALE], 1,
				    __ATOMIC_RELAXED);
		}
		took = pace_us() - at;
		__atomic_add_fetch(&stage->user[CALLS], 1, __ATOMIC_RELAXED);
		if (took > stage->user[SLOWEST_US]) {
			stage->user[SLOWEST_US] = took;
			stage->user[SLOWEST_OP] = op;
		}
		if (reads_only)
			usleep(500);
	}
}

/* ---- the watcher ---- */

/*
 * RENAME_EXCHANGE of a and b says MOVED_FROM a, MOVED_TO b, MOVED_FROM b,
 * MOVED_TO a: as do two renames of which the first replaced b.  Then nobody
 * can tell from events whether b exists.
 */
enum state { ABSENT, PRESENT, UNSURE };

struct seen {
	enum state state;
	bool replaced; /* its last event was a MOVED_TO onto it */
	int from;      /* and this was its source; -1: not watched */
};

static struct seen seen[N_DIRS * N_NAMES];

/* Renames in other directories may come between the two events of one. */
static struct {
	uint32_t cookie;
	int from;
} moves[16];

static int
moved_from(uint32_t cookie)
{
	for (unsigned i = 0; i < 16; i++)
		if (moves[i].cookie == cookie)
			return moves[i].from;
	return -1;
}

static void
event(int dir, const struct inotify_event *e)
{
	static unsigned n_moves;
	static int last_to = -1; /* the event before was a MOVED_TO there */
	int n, at, previous_to = last_to;
	struct seen *s;

	if (e->mask & IN_Q_OVERFLOW) {
		stage->user[OVERFLOW]++;
		return;
	}
	if (e->len == 0 || sscanf(e->name, "n%d", &n) != 1)
		return;
	stage->user[EVENTS]++;
	at = dir * N_NAMES + n;
	last_to = e->mask & IN_MOVED_TO ? at : -1;
	s = &seen[at];
	if (trace)
		fprintf(stderr, "d%d/%s %x %u %d%c%d\n", dir, e->name,
		    e->mask, e->cookie, s->state, s->replaced ? 'r' : '-',
		    s->from);
	if (e->mask & IN_CREATE) {
		if (s->state == PRESENT && trace)
			fprintf(stderr, "DUPLICATE\n");
		if (s->state == PRESENT)
			stage->user[DUPLICATES]++;
		*s = (struct seen){.state = PRESENT};
	} else if (e->mask & IN_DELETE) {
		if (s->state == ABSENT && trace)
			fprintf(stderr, "UNKNOWN\n");
		if (s->state == ABSENT)
			stage->user[UNKNOWN]++;
		*s = (struct seen){.state = ABSENT};
	} else if (e->mask & IN_MOVED_FROM) {
		if (s->state == ABSENT && trace)
			fprintf(stderr, "UNKNOWN\n");
		if (s->state == ABSENT)
			stage->user[UNKNOWN]++;
		moves[n_moves % 16].cookie = e->cookie;
		moves[n_moves++ % 16].from = at;
		/* Exchanged with a name in a directory not watched?  inotify
		 * merges two MOVED_TO one name whatever their cookies. */
		s->state = (s->replaced && s->from < 0) || previous_to == at
		    ? UNSURE
		    : ABSENT;
		s->replaced = s->replaced && s->from >= 0;
	} else if (e->mask & IN_MOVED_TO) {
		int from = moved_from(e->cookie);
		struct seen *f = from < 0 ? NULL : &seen[from];

		if (f != NULL && f->replaced && f->from == at)
			f->state = UNSURE; /* perhaps an exchange */
		if (f != NULL)
			f->replaced = false;
		s->replaced = s->state != ABSENT;
		s->from = from;
		s->state = PRESENT;
	}
}

static void
watch(void)
{
	char buf[65536] __attribute__((aligned(8))), path[128];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), wd[N_DIRS];
	struct stat st;
	ssize_t n;

	for (int i = 0; i < N_DIRS; i++) {
		snprintf(path, sizeof path, "%s/d%d", stage->mnt, i);
		wd[i] = inotify_add_watch(fd, path, IN_CREATE | IN_DELETE |
		    IN_MOVED_FROM | IN_MOVED_TO);
		if (wd[i] < 0)
			_exit(1);
	}
	stage->user[READY] = 1;
	for (;;) {
		bool quit = stage->user[QUIT] == 2;

		while ((n = read(fd, buf, sizeof buf)) > 0) {
			const struct inotify_event *e;

			for (char *p = buf; p < buf + n;
			     p += sizeof *e + e->len) {
				e = (const struct inotify_event *)p;
				for (int i = 0; i < N_DIRS; i++)
					if (wd[i] == e->wd ||
					    (e->mask & IN_Q_OVERFLOW))
						event(i, e);
			}
		}
		if (quit)
			break;
		usleep(1000);
	}
	for (int i = 0; i < N_DIRS * N_NAMES; i++) {
		snprintf(path, sizeof path, "%s/d%d/n%d", stage->mnt,
		    i / N_NAMES, i % N_NAMES);
		bool there = lstat(path, &st) == 0;

		if (seen[i].state != UNSURE &&
		    there != (seen[i].state == PRESENT)) {
			stage->user[MODEL_WRONG]++;
			printf("# %s: %s, by its events %s\n", path,
			    there ? "there" : "absent",
			    there ? "absent" : "there");
		}
	}
	fflush(stdout);
	_exit(0);
}

/* ---- the play ---- */

static bool
reap(pid_t pid, unsigned ms)
{
	char path[64], text[512];
	int fd, n;

	for (unsigned i = 0; i < PATIENCE * ms; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		usleep(1000);
	}
	snprintf(path, sizeof path, "/proc/%d/stack", pid);
	fd = open(path, O_RDONLY);
	n = (int)read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	printf("# process %d hangs: %s\n", pid, text);
	kill(pid, SIGKILL);
	return false;
}

static void
play(unsigned seconds, unsigned per_s, unsigned commit_ms, unsigned seed,
    bool kill_helper)
{
	pid_t users[N_USERS + N_READERS], watcher;
	uint64_t until;
	bool hang = false, calm;
	char path[128];
	unsigned killed = 0;

	stage = player_stage("cross");
	stage->remote_per_s = per_s;
	if (!player_start(stage, commit_ms, seed, remote_tick, NULL)) {
		fail("the file system is mounted");
		return;
	}
	for (int i = 0; i < N_DIRS; i++) {
		snprintf(path, sizeof path, "%s/d%d", stage->mnt, i);
		mkdir(path, 0777);
	}
	watcher = fork();
	if (watcher == 0)
		watch();
	while (stage->user[READY] == 0)
		usleep(1000);
	for (unsigned i = 0; i < N_USERS + N_READERS; i++) {
		users[i] = fork();
		if (users[i] == 0) {
			user(seed * 100 + i, i >= N_USERS);
			_exit(0);
		}
	}
	stage->remote_on = true;
	until = now_us() + seconds * 1000000ULL;
	while (now_us() < until) {
		usleep(100000);
		if (kill_helper && stage->helper > 0) {
			kill(stage->helper, SIGKILL);
			killed++;
		}
	}
	stage->remote_on = false;
	stage->user[QUIT] = 1;
	for (unsigned i = 0; i < N_USERS + N_READERS; i++)
		hang |= !reap(users[i], 4000);
	calm = player_drain(stage, 20000);
	if (!calm && getenv("HOLD") != NULL) {
		printf("# held: daemon %d\n", stage->daemon);
		pause();
	}
	stage->user[QUIT] = 2;
	hang |= !reap(watcher, 4000);
	diag("%u s, remote %u/s, commit %u ms, seed %u: %llu remote (%llu "
	     "refused), %llu calls, %llu events, %llu replayed, %llu "
	     "crossed, %llu ESTALE, slowest %s %llu us, replay %llu us, "
	     "lag %llu us%s",
	    seconds, per_s, commit_ms, seed,
	    (unsigned long long)stage->n_remote,
	    (unsigned long long)stage->n_refused,
	    (unsigned long long)stage->user[CALLS],
	    (unsigned long long)stage->user[EVENTS],
	    (unsigned long long)stage->n_replayed,
	    (unsigned long long)stage->n_reconciled,
	    (unsigned long long)stage->user[STALE],
	    op_names[stage->user[SLOWEST_OP]],
	    (unsigned long long)stage->user[SLOWEST_US],
	    (unsigned long long)stage->replay_us,
	    (unsigned long long)stage->lag_us,
	    kill_helper ? ", helper killed" : "");
	ok(!hang, "O7: every call returned");
	ok(stage->user[SLOWEST_US] < 2100000, "O7: no call took over 2 s");
	ok(calm, "the replay catches up");
	ok(!hang && player_compare(stage),
	    "the kernel's view is the committed tree");
	if (killed == 0) {
		is_int(stage->user[DUPLICATES], 0,
		    "W1: no name was created twice");
		is_int(stage->user[UNKNOWN], 0,
		    "W1: no unknown name was deleted");
		is_int(stage->user[MODEL_WRONG], 0,
		    "W1: the events lead to the listing");
	}
	is_int(stage->user[OVERFLOW], 0, "no event was lost");
	if (!is_int(stage->user[UNEXPECTED], 0, "no unexpected errno"))
		diag("%s: %s", op_names[stage->user[LAST_OP]],
		    strerror((int)stage->user[LAST_ERRNO]));
	player_stop(stage);
}

int
main(int argc, char **argv)
{
	unsigned arg[4] = {3, 1000, 0, 1};

	player_helper(argc, argv);
	trace = getenv("TRACE") != NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		puts("1..0 # SKIP needs root and /dev/fuse");
		return 0;
	}
	pace_start();
	for (int i = 1; i < argc && i <= 4; i++)
		arg[i - 1] = (unsigned)atoi(argv[i]);
	if (argc > 1) {
		play(arg[0], arg[1], arg[2], arg[3], argc > 5);
		return done_testing();
	}
	play(3, 200, 1, 1, false);
	play(3, 1000, 0, 2, false);
	play(3, 3000, 1, 3, false);
	play(3, 1000, 1, 4, true);
	return done_testing();
}
