/*
 * backlog.c: a host that falls far behind, and catches up.
 *
 * The replay helper is stopped while another host makes 200,000 changes to few
 * names, then to many.  The daemon's memory stays bounded, opens wait no longer
 * than 2 s (O3), and when the helper goes on the kernel's view becomes the
 * committed tree by events that lead there (W3).  A directory moved meanwhile
 * has one name at any time.
 *
 * backlog.t [CHANGES [NAMES [SEED]]]
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

enum { N_DIRS = 4, MAX_NAMES = 20000 };

/* Places in stage->user. */
enum { NAMES, FILL, QUIT, READY, EVENTS, OVERFLOW, MODEL_WRONG, UNTOLD,
	REPLACED, ABSENT, STEP, DONE };

static struct stage *stage;

/* ---- the remote host ---- */

static uint64_t
get(struct store_txn *t, uint64_t dir, const char *name)
{
	struct tree_name n;

	return dir != 0 && tree_name_get(t, dir, slice_str(name), &n) ? n.ino
								      : 0;
}

static void
remote_step(struct remote *r, unsigned i)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	unsigned n = (unsigned)stage->user[NAMES];
	unsigned i2 = rnd(&r->rng, n);
	char dir[8], dir2[8], name[16], name2[16], data[32];
	struct command c = {.kind = COMMAND_write};

	snprintf(dir, sizeof dir, "d%u", i % N_DIRS);
	snprintf(dir2, sizeof dir2, "d%u", i2 % N_DIRS);
	snprintf(name, sizeof name, "n%u", i);
	snprintf(name2, sizeof name2, "n%u", i2);
	snprintf(data, sizeof data, "remote %llu\n",
	    (unsigned long long)r->seq);
	c.dir = get(t, TREE_ROOT, dir);
	c.dir2 = get(t, TREE_ROOT, dir2);
	c.name = slice_str(name);
	c.name2 = slice_str(name2);
	c.node = get(t, c.dir, name);
	c.node2 = get(t, c.dir2, name2);
	c.data = slice_str(data);
	store_abort(t);
	if (c.node == 0) {
		c.kind = COMMAND_birth;
		c.ino = remote_ino(r);
		c.mode = S_IFREG | 0644;
	} else switch (rnd(&r->rng, 8)) {
	case 0:
		c.kind = COMMAND_unlink;
		break;
	case 1:
		c.kind = COMMAND_rename;
		break;
	case 2:
		c.kind = COMMAND_setattr;
		c.flags = SETATTR_MODE;
		c.mode = 0600 | rnd(&r->rng, 0100);
		break;
	case 3:
		c.kind = COMMAND_truncate;
		c.size = rnd(&r->rng, 20);
		break;
	}
	remote_submit(r, &c);
}

/* Every tick a file is made and moved over another: mv -f next fixed. */
static void
remote_replace(struct remote *r)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	struct command c = {.kind = COMMAND_birth, .dir = TREE_ROOT,
	    .name = slice_str("next"), .mode = S_IFREG | 0644,
	    .dir2 = TREE_ROOT, .name2 = slice_str("fixed"),
	    .data = slice_str("fixed\n")};

	c.node = get(t, TREE_ROOT, "next");
	c.node2 = get(t, TREE_ROOT, "fixed");
	store_abort(t);
	if (c.node != 0)
		c.kind = COMMAND_rename;
	else
		c.ino = remote_ino(r);
	remote_submit(r, &c);
	stage->user[REPLACED]++;
}

static void
remote_tick(struct remote *r)
{
	unsigned n = (unsigned)stage->user[NAMES];

	if (stage->user[FILL] < n) { /* each name once */
		for (int i = 0; i < 200 && stage->user[FILL] < n; i++)
			remote_step(r, (unsigned)stage->user[FILL]++);
		return;
	}
	remote_replace(r);
	for (unsigned due = remote_due(r); due > 0; due--)
		remote_step(r, rnd(&r->rng, n));
}

/*
 * Another host moves a directory that nobody here has been in: out of one that
 * is watched into one that is not, over an empty one that is newer than the
 * backlog.  And all files that are known here, to where they can be moved to
 * only when the last of all names has come.
 */
enum { MAKE = 1, FALL_BEHIND, MOVE, N_FILES = 3000 };

static uint64_t
remote_make(struct remote *r, enum command_kind kind, uint64_t dir,
    const char *name)
{
	struct command c = {.kind = kind, .dir = dir, .name = slice_str(name)};

	c.mode = kind == COMMAND_mkdir ? S_IFDIR | 0755 : S_IFREG | 0644;
	c.ino = remote_ino(r);
	remote_submit(r, &c);
	return c.ino;
}

static void
remote_rename(struct remote *r, uint64_t dir, const char *name, uint64_t dir2,
    const char *name2)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	struct command c = {.kind = COMMAND_rename, .dir = dir,
	    .name = slice_str(name), .node = get(t, dir, name), .dir2 = dir2,
	    .name2 = slice_str(name2), .node2 = get(t, dir2, name2)};

	store_abort(t);
	remote_submit(r, &c);
}

static void
remote_fall_behind(struct remote *r, uint64_t dir, const char *name)
{
	struct command c = {.kind = COMMAND_setattr, .dir = TREE_ROOT,
	    .name = slice_str(name), .node = dir, .flags = SETATTR_MODE};

	for (unsigned i = 0; i <= LIMIT_REPLAY_QUEUE; i++) {
		c.mode = 0700 + i % 2;
		remote_submit(r, &c);
	}
}

static void
remote_move(struct remote *r)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	uint64_t watched = get(t, TREE_ROOT, "watched");
	uint64_t far = get(t, TREE_ROOT, "far"), tmp = get(t, TREE_ROOT, "tmp");
	char name[16];

	store_abort(t);
	switch (stage->user[STEP]) {
	case MAKE:
		remote_make(r, COMMAND_mkdir, TREE_ROOT, "far");
		remote_make(r, COMMAND_mkdir,
		    remote_make(r, COMMAND_mkdir, watched, "dir"), "full");
		for (unsigned i = 0; i < N_FILES; i++) {
			snprintf(name, sizeof name, "f%u", i);
			remote_make(r, COMMAND_birth, watched, name);
		}
		break;
	case FALL_BEHIND:
		remote_fall_behind(r, watched, "watched");
		remote_make(r, COMMAND_mkdir, far, "dir");
		remote_make(r, COMMAND_mkdir, TREE_ROOT, "tmp");
		break;
	case MOVE:
		remote_rename(r, watched, "dir", far, "dir");
		for (unsigned i = 0; i < N_FILES; i++) {
			snprintf(name, sizeof name, "f%u", i);
			remote_rename(r, watched, name, tmp, name);
		}
		remote_rename(r, TREE_ROOT, "tmp", TREE_ROOT, "last");
		break;
	default:
		return;
	}
	stage->user[DONE] = stage->user[STEP];
	stage->user[STEP] = 0;
}

/* ---- the watcher ---- */

static struct {
	bool there, unsure, told; /* told: since it was marked */
} seen[MAX_NAMES];

/* As cross.c has it: a there-and-back move may have been an exchange. */
static void
event(const struct inotify_event *e)
{
	static int from, to, back = -1;
	int n;

	if (e->mask & IN_Q_OVERFLOW)
		stage->user[OVERFLOW]++;
	if (e->len == 0 || sscanf(e->name, "n%d", &n) != 1)
		return;
	stage->user[EVENTS]++;
	if (e->mask & (IN_CREATE | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE))
		seen[n].told = true;
	if (e->mask & IN_MOVED_FROM) {
		back = n == to ? from : -1;
		from = n;
	}
	if (e->mask & IN_MOVED_TO)
		to = n;
	if (e->mask & (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM)) {
		seen[n].there = (e->mask & (IN_CREATE | IN_MOVED_TO)) != 0;
		seen[n].unsure = false;
	}
	if ((e->mask & IN_MOVED_TO) && n == back)
		seen[from].unsure = true;
}

static void
read_names(char (*ret)[32])
{
	char path[128];
	int fd;

	for (unsigned i = 0; i < stage->user[NAMES]; i++) {
		memset(ret[i], 0, sizeof ret[i]);
		snprintf(path, sizeof path, "%s/d%u/n%u", stage->mnt,
		    i % N_DIRS, i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ret[i][0] = '+'; /* it is there */
		if (read(fd, ret[i] + 1, sizeof ret[i] - 2) < 0)
			stage->user[MODEL_WRONG]++;
		close(fd);
	}
}

static void
watch(void)
{
	static char before[MAX_NAMES][32], after[MAX_NAMES][32];
	char buf[65536] __attribute__((aligned(8))), path[128];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	ssize_t n;

	for (int i = 0; i < N_DIRS; i++) {
		snprintf(path, sizeof path, "%s/d%d", stage->mnt, i);
		if (inotify_add_watch(fd, path, IN_CREATE | IN_DELETE |
			IN_MOVE | IN_MODIFY | IN_CLOSE_WRITE) < 0)
			_exit(1);
	}
	read_names(before);
	for (unsigned i = 0; i < stage->user[NAMES]; i++)
		seen[i].there = before[i][0] != '\0';
	stage->user[READY] = 1;
	for (;;) {
		bool quit = stage->user[QUIT] != 0;

		while ((n = read(fd, buf, sizeof buf)) > 0)
			for (char *p = buf; p < buf + n;
			     p += sizeof(struct inotify_event) +
				 ((struct inotify_event *)p)->len)
				event((struct inotify_event *)p);
		if (quit)
			break;
		usleep(1000);
	}
	read_names(after);
	for (unsigned i = 0; i < stage->user[NAMES]; i++) {
		bool there = after[i][0] != '\0';

		if (!seen[i].unsure && there != seen[i].there)
			stage->user[MODEL_WRONG]++;
		if (there && !seen[i].told && strcmp(before[i], after[i]) != 0)
			stage->user[UNTOLD]++;
	}
	_exit(0);
}

/* F6: the name that is replaced by rename is there at any time. */
static void
look(void)
{
	char path[128];

	snprintf(path, sizeof path, "%s/fixed", stage->mnt);
	while (stage->user[QUIT] == 0) {
		if (access(path, F_OK) != 0)
			stage->user[ABSENT]++;
		usleep(20);
	}
	_exit(0);
}

/* ---- the play ---- */

static unsigned
rss_mib(pid_t pid)
{
	char path[64];
	unsigned long pages = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return (unsigned)(pages * (unsigned long)getpagesize() >> 20);
}

/* The slowest of the opens of five names, in microseconds of pace.h. */
static uint64_t
slowest_open(void)
{
	uint64_t at, slowest = 0;
	char path[128];
	int fd;

	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof path, "%s/d%u/n%u", stage->mnt,
		    i % N_DIRS, i);
		at = pace_us();
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (pace_us() - at > slowest)
			slowest = pace_us() - at;
		if (fd >= 0)
			close(fd);
	}
	return slowest;
}

/* Not for ever: the daemon may have ended. */
static void
wait_for(int place, uint64_t least)
{
	for (int i = 0; i < 60000 && stage->user[place] < least; i++)
		usleep(1000);
}

static void
play(unsigned changes, unsigned names, unsigned seed, unsigned max_mib)
{
	uint64_t start, took, until, least, waited;
	unsigned before, after;
	char path[128];
	pid_t watcher, looker, helper;
	int fd;
	bool calm;

	stage = player_stage("backlog");
	stage->user[NAMES] = names;
	stage->remote_per_s = 100000;
	if (!player_start(stage, 0, seed, remote_tick, NULL)) {
		fail("the file system is mounted");
		return;
	}
	for (int i = 0; i < N_DIRS; i++) {
		snprintf(path, sizeof path, "%s/d%d", stage->mnt, i);
		mkdir(path, 0777);
	}
	snprintf(path, sizeof path, "%s/fixed", stage->mnt);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	close(fd);
	stage->remote_on = true;
	wait_for(FILL, names);
	stage->remote_on = false;
	player_drain(stage, 60000);
	watcher = fork();
	if (watcher == 0)
		watch();
	looker = fork();
	if (looker == 0)
		look();
	wait_for(READY, 1);

	before = rss_mib(stage->daemon);
	helper = stage->helper;
	kill(helper, SIGSTOP);
	start = stage->n_remote;
	took = now_us();
	until = took + PATIENCE * 60000000;
	stage->remote_on = true;
	while (stage->n_remote < start + changes && now_us() < until)
		usleep(1000);
	stage->remote_on = false;
	took = now_us() - took;
	least = now_us();
	waited = slowest_open();
	least = now_us() - least;
	after = rss_mib(stage->daemon);
	diag("%llu changes to %u names in %llu ms, seed %u: %u queued, RSS "
	     "%u MiB, before %u MiB",
	    (unsigned long long)(stage->n_remote - start), names,
	    (unsigned long long)took / 1000, seed, stage->n_queued, after,
	    before);
	ok(stage->n_remote - start >= changes, "changes apply all the same");
	ok(stage->n_queued > 0, "and wait for their replay");
	ok(after - before < max_mib,
	    "the daemon's memory grows by less than %u MiB", max_mib);
	ok(least > 1500000 && waited < 2200000,
	    "O3: an open waits for 2 s, no longer (%llu us)",
	    (unsigned long long)waited);

	took = now_us();
	kill(helper, SIGCONT);
	calm = player_drain(stage, 60000);
	took = now_us() - took;
	stage->user[QUIT] = 1;
	waitpid(watcher, NULL, 0);
	waitpid(looker, NULL, 0);
	diag("caught up in %llu ms: %llu replayed, %llu events",
	    (unsigned long long)took / 1000,
	    (unsigned long long)stage->n_replayed,
	    (unsigned long long)stage->user[EVENTS]);
	ok(calm, "the replay catches up");
	ok(player_compare(stage), "the kernel's view is the committed tree");
	is_int(stage->user[OVERFLOW], 0, "no event was lost");
	is_int(stage->user[MODEL_WRONG], 0,
	    "W3: the events lead to the listing");
	is_int(stage->user[UNTOLD], 0,
	    "W3: each file that has changed has raised its event");
	is_int(stage->user[ABSENT], 0,
	    "F6: a name replaced %llu times is there at any time",
	    (unsigned long long)stage->user[REPLACED]);
	ok(slowest_open() < 500000, "O3: opens don't wait any more");
	ok(kill(stage->daemon, 0) == 0 && stage->helper == helper,
	    "daemon and helper are the same");
	player_stop(stage);
}

static void
step(uint64_t what)
{
	stage->user[STEP] = what;
	wait_for(DONE, what);
}

static void
play_moved(void)
{
	char path[128];
	struct stat st;
	unsigned n_known = 0;

	stage = player_stage("backlog");
	if (!player_start(stage, 0, 1, remote_move, NULL)) {
		fail("the file system is mounted");
		return;
	}
	snprintf(path, sizeof path, "%s/watched", stage->mnt);
	mkdir(path, 0777);
	stat(path, &st);
	stage->remote_on = true;
	step(MAKE);
	ok(player_drain(stage, 5000), "another host makes directories and files");
	for (unsigned i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof path, "%s/watched/f%u", stage->mnt, i);
		n_known += stat(path, &st) == 0;
	}
	is_int(n_known, N_FILES, "the files are known here");
	kill(stage->helper, SIGSTOP);
	step(FALL_BEHIND);
	for (int i = 0; i < 5000 && stage->n_queued <= LIMIT_REPLAY_QUEUE; i++)
		usleep(1000);
	ok(stage->n_queued > LIMIT_REPLAY_QUEUE, "we fall behind");
	step(MOVE);
	kill(stage->helper, SIGCONT);
	ok(player_drain(stage, 10000),
	    "what was moved meanwhile doesn't stop the replay");
	ok(player_compare(stage), "the kernel's view is the committed tree");
	player_stop(stage);
}

int
main(int argc, char **argv)
{
	unsigned arg[3] = {200000, 24, 1};

	player_helper(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		puts("1..0 # SKIP needs root and /dev/fuse");
		return 0;
	}
	for (int i = 1; i < argc && i <= 3; i++)
		arg[i - 1] = (unsigned)atoi(argv[i]);
	if (arg[1] == 0 || arg[1] > MAX_NAMES)
		arg[1] = MAX_NAMES;
	pace_start();
	if (argc > 1) {
		play(arg[0], arg[1], arg[2], 256);
		return done_testing();
	}
	play_moved();
	play(200000, 24, 1, 64);
	play(200000, 10000, 2, 96);
	return done_testing();
}
