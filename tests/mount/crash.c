/*
 * crash.c: a dead daemon never leaves a hung mount (O7).
 *
 * Under load from processes of this host and a remote one the daemon is killed
 * or made to fault at a random moment, often while its helper sleeps on a
 * directory's lock behind a slow commit.  Callers return at once, the helper
 * goes, and the dead mount can be taken away.
 *
 * crash.t [ROUNDS [SEED]].
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/player.h"
#include "pace.h"
#include "tap.h"
#include "tree/tree.h"

enum { N_USERS = 4, DEAD_AT, LATEST_US };

static struct stage *stage;

static void
remote_tick(struct remote *r)
{
	static uint64_t dir;
	struct store_txn *t;
	struct tree_name n;
	struct command c = {.name2 = slice_str("r2")};
	char name[8];

	if (dir == 0) {
		t = store_begin(engine_store(r->engine), STORE_READ);
		if (tree_name_get(t, TREE_ROOT, slice_str("d"), &n))
			dir = n.ino;
		store_abort(t);
		return;
	}
	for (unsigned due = remote_due(r); due > 0; due--) {
		snprintf(name, sizeof name, "r%u", rnd(&r->rng, 4));
		t = store_begin(engine_store(r->engine), STORE_READ);
		c.dir = c.dir2 = dir;
		c.name = slice_str(name);
		c.node = tree_name_get(t, dir, c.name, &n) ? n.ino : 0;
		store_abort(t);
		c.kind = COMMAND_unlink;
		if (c.node == 0) {
			c.kind = COMMAND_birth;
			c.mode = S_IFREG | 0644;
			c.ino = remote_ino(r);
			c.data = slice_str("remote\n");
		} else if (rnd(&r->rng, 2) == 0) {
			c.kind = COMMAND_append;
			c.data = slice_str("more\n");
		}
		remote_submit(r, &c);
	}
}

static void
user(unsigned seed)
{
	char path[128], text[64];
	unsigned rng = seed;
	int fd;

	for (;;) {
		snprintf(path, sizeof path, "%s/d/u%u", stage->mnt,
		    rnd(&rng, 4));
		switch (rnd(&rng, 5)) {
		case 0:
			mkdir(path, 0755);
			break;
		case 1:
			rmdir(path);
			break;
		case 2:
			unlink(path);
			break;
		case 3:
			fd = open(path, O_WRONLY | O_CREAT, 0644);
			if (fd >= 0 && write(fd, "x", 1) < 0)
				errno = EIO;
			if (fd >= 0)
				close(fd);
			break;
		default:
			fd = open(path, O_RDONLY);
			if (fd >= 0 && read(fd, text, sizeof text) < 0)
				errno = EIO;
			if (fd >= 0)
				close(fd);
		}
		if (stage->user[DEAD_AT] != 0)
			_exit(0);
	}
}

static bool
gone(pid_t pid)
{
	char path[64], text[256], *at;
	int fd, n;

	if (pid <= 0)
		return true;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return true;
	n = (int)read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strrchr(text, ')');
	return at == NULL || at[2] == 'Z' || at[2] == 'X';
}

/* 0: well; otherwise what was wrong. */
static const char *
round_of(unsigned seed, unsigned commit_ms, int sig)
{
	pid_t users[N_USERS], helper;
	const char *wrong = NULL;
	char path[128];
	unsigned rng = seed;
	uint64_t start, paced;

	stage = player_stage("crash");
	stage->remote_per_s = 2000;
	if (!player_start(stage, commit_ms, seed, remote_tick, NULL))
		return "not mounted";
	snprintf(path, sizeof path, "%s/d", stage->mnt);
	if (mkdir(path, 0777) != 0)
		wrong = "mkdir";
	for (unsigned i = 0; i < N_USERS; i++) {
		users[i] = fork();
		if (users[i] == 0)
			user(seed * 10 + i);
	}
	stage->remote_on = true;
	usleep(50000 + rnd(&rng, 150000));
	helper = stage->helper;
	kill(stage->daemon, sig);
	start = now_us();
	paced = pace_us();
	stage->user[DEAD_AT] = start;
	for (unsigned i = 0; i < N_USERS; i++) {
		while (waitpid(users[i], NULL, WNOHANG) == 0) {
			if (now_us() - start > PATIENCE * 3000000) {
				wrong = "a caller hangs";
				break;
			}
			usleep(500);
		}
	}
	if (now_us() - start > stage->user[LATEST_US])
		stage->user[LATEST_US] = now_us() - start;
	while (!gone(helper) && now_us() - start < PATIENCE * 3000000)
		usleep(500);
	if (!gone(helper))
		wrong = "the helper is still there";
	waitpid(stage->daemon, NULL, 0);
	if (umount2(stage->mnt, MNT_DETACH) != 0)
		wrong = "umount -l";
	if (pace_us() - paced > 1000000 && wrong == NULL)
		wrong = "it took more than a second";
	rmdir(stage->mnt);
	rmdir(stage->dir);
	return wrong;
}

static void
on_usr1(int sig)
{
}

static void
no_tick(struct remote *r)
{
}

/* The kernel tells a daemon of the first signal only. */
static void
killed_later(void)
{
	struct sigaction sa = {.sa_handler = on_usr1};
	char path[128];
	uint64_t start;
	pid_t pid;

	stage = player_stage("crash");
	if (!player_start(stage, 3000, 1, no_tick, NULL)) {
		fail("the file system is mounted");
		return;
	}
	snprintf(path, sizeof path, "%s/d", stage->mnt);
	pid = fork();
	if (pid == 0) {
		sigaction(SIGUSR1, &sa, NULL);
		_exit(mkdir(path, 0755) != 0);
	}
	usleep(100000);
	kill(pid, SIGUSR1);
	usleep(100000);
	start = pace_us();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(pace_us() - start < 1000000, "O7: a process that waits for a commit "
	    "of 3 s is killed at once, also after a signal it handled");
	player_stop(stage);
}

int
main(int argc, char **argv)
{
	unsigned rounds = 20, seed = 1, bad = 0;
	static const int signals[] = {SIGKILL, SIGSEGV};
	static const unsigned commits[] = {0, 1, 60};
	const struct rlimit no_core = {0, 0};

	player_helper(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		puts("1..0 # SKIP needs root and /dev/fuse");
		return 0;
	}
	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	if (argc > 2)
		seed = (unsigned)atoi(argv[2]);
	pace_start();
	setrlimit(RLIMIT_CORE, &no_core);
	for (unsigned i = 0; i < rounds; i++) {
		const char *wrong = round_of(seed + i, commits[i / 2 % 3],
		    signals[i % 2]);

		if (wrong != NULL) {
			diag("round %u (%s, commit %u ms, seed %u): %s", i,
			    i % 2 ? "SIGSEGV" : "SIGKILL", commits[i / 2 % 3],
			    seed + i, wrong);
			bad++;
		}
	}
	is_int(bad, 0, "O7: %u daemons died under load, every caller "
	    "returned, every helper went", rounds);
	killed_later();
	return done_testing();
}
