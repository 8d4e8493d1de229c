/*
 * late.c: answers that the kernel takes in late.
 *
 * Who asked takes in the answer, when it gets a processor: until then another
 * host's change may have been replayed.  The kernel knows the age of what it
 * hears by GETATTR and LOOKUP; attributes that come with a new name it takes as
 * they are; and what operations on names do to attributes it does not number.
 * Here the asking process is kept from its processor meanwhile.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/player.h"
#include "pace.h"
#include "tap.h"
#include "tree/tree.h"

enum { OLD_LEN = 40, NEW_LEN = 6, COMMIT_MS = 20 };

/* Places in stage->user. */
enum { ASKED, DONE, HOG, LIST };
/* What LIST comes to. */
enum { OPENED = 1, LIST_NOW, LISTS };
/* What the remote host is asked to do. */
enum { WRITE_NEW = 1, MAKE_OLD, MOVE, WRITE_MOVED };

static struct stage *stage;

static uint64_t
get(struct store_txn *t, uint64_t dir, const char *name)
{
	struct tree_name n;

	return dir != 0 && tree_name_get(t, dir, slice_str(name), &n) ? n.ino
								      : 0;
}

/* Does what it is asked as soon as that can be done. */
static void
remote_tick(struct remote *r)
{
	static const char bytes[OLD_LEN] = "another host's bytes";
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	struct command c = {.kind = COMMAND_write};
	uint64_t from = get(t, TREE_ROOT, "from"), to = get(t, TREE_ROOT, "to");
	uint64_t asked = stage->user[ASKED];

	c.data = slice_of(bytes, NEW_LEN);
	switch (asked) {
	case WRITE_NEW:
		c.dir = TREE_ROOT;
		c.name = slice_str("new");
		break;
	case MAKE_OLD:
		c.kind = COMMAND_birth;
		c.dir = from;
		c.name = slice_str("old");
		c.ino = remote_ino(r);
		c.mode = S_IFREG | 0644;
		c.data = slice_of(bytes, OLD_LEN);
		break;
	case MOVE:
		c.kind = COMMAND_rename;
		c.dir = from;
		c.name = slice_str("old");
		c.dir2 = to;
		c.name2 = slice_str("moved");
		break;
	case WRITE_MOVED:
		c.dir = to;
		c.name = slice_str("moved");
		break;
	}
	c.node = get(t, c.dir, (const char *)c.name.ptr);
	store_abort(t);
	if (asked == 0 || (c.node == 0 && c.kind != COMMAND_birth))
		return;
	stage->user[ASKED] = 0;
	remote_submit(r, &c);
}

static void
remote_outcome(struct remote *r, const struct command *c,
    const struct outcome *outcome)
{
	if (c->kind != COMMAND_session_open)
		stage->user[DONE]++;
}

static bool
reach(volatile uint64_t *place, uint64_t least)
{
	for (int i = 0; i < PATIENCE * 5000 && *place < least; i++)
		usleep(1000);
	return *place >= least;
}

static void
ask(uint64_t what)
{
	stage->user[ASKED] = what;
}

static bool
done(uint64_t n)
{
	return reach(&stage->user[DONE], n);
}

/* ---- processors ---- */

static bool
run_on(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof set, &set) == 0;
}

/* May a process have it for itself? */
static bool
real_time(void)
{
	struct sched_param hog = {.sched_priority = 10}, normal = {0};

	return sched_setscheduler(0, SCHED_FIFO, &hog) == 0 &&
	    sched_setscheduler(0, SCHED_OTHER, &normal) == 0;
}

/* Takes the second processor for itself, at most for half a second (the
 * scheduler would not let it have more), until it is told to go. */
static pid_t
hog_start(void)
{
	struct sched_param param = {.sched_priority = 10};
	uint64_t end = now_us() + 500000;
	pid_t pid;

	stage->user[HOG] = 0;
	pid = fork();
	if (pid == 0) {
		if (!run_on(0, 1) ||
		    sched_setscheduler(0, SCHED_FIFO, &param) != 0)
			_exit(1);
		stage->user[HOG] = 1;
		while (stage->user[HOG] == 1 && now_us() < end)
			;
		_exit(0);
	}
	return pid;
}

static bool
hog_stop(pid_t pid)
{
	int status;

	stage->user[HOG] = 2;
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* Makes a file, by mknod or by opening and closing it. */
enum { BY_MKNOD = -1 };

static pid_t
creator(const char *path, int flags, int cpu)
{
	pid_t pid = fork();
	int fd;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!run_on(0, cpu))
		_exit(1);
	if (flags == BY_MKNOD)
		_exit(mknod(path, S_IFREG | 0644, 0) == 0 ? 0 : 1);
	fd = open(path, flags | O_CREAT | O_CLOEXEC, 0644);
	_exit(fd < 0 ? 1 : 0);
}

/* Opens a directory and lists it when it may, on the second processor. */
static pid_t
lister(const char *path)
{
	pid_t pid;
	DIR *d;

	stage->user[LIST] = 0;
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	d = run_on(0, 1) ? opendir(path) : NULL;
	if (d == NULL)
		_exit(1);
	stage->user[LIST] = OPENED;
	while (stage->user[LIST] == OPENED)
		usleep(1000);
	stage->user[LIST] = LISTS;
	_exit(readdir(d) != NULL ? 0 : 1);
}

static bool
exited(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* Its request has been sent: it sleeps in the kernel. */
static bool
asleep(pid_t pid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	for (int i = 0; i < PATIENCE * 1000 && state != 'S' && state != 'D'; i++) {
		usleep(1000);
		f = fopen(path, "r");
		if (f == NULL || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = '?';
		if (f != NULL)
			fclose(f);
	}
	return state == 'S' || state == 'D';
}

/* The kernel asks the daemon on its behalf to make a node. */
static bool
in_mknod(pid_t pid)
{
	char path[64], text[1024] = "";
	int fd, n;

	snprintf(path, sizeof path, "/proc/%d/stack", pid);
	for (int i = 0; i < PATIENCE * 10000; i++) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = (int)read(fd, text, sizeof text - 1);
		text[n > 0 ? n : 0] = '\0';
		close(fd);
		if (strstr(text, "fuse_mknod") != NULL)
			return true;
		usleep(100);
	}
	return false;
}

static long
size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (long)st.st_size : -errno;
}

/* ---- the plays ---- */

static void
test_new(int flags)
{
	char path[128];
	pid_t pid, hog;
	uint64_t n = stage->user[DONE];

	snprintf(path, sizeof path, "%s/new", stage->mnt);
	is_int(size_of(path), -ENOENT, "a name that the kernel knows is free");
	if (flags != BY_MKNOD) /* which looks it up before */
		kill(stage->daemon, SIGSTOP);
	pid = creator(path, flags, 1);
	ok(flags == BY_MKNOD ? in_mknod(pid) : asleep(pid),
	    "it is being taken");
	kill(stage->daemon, SIGSTOP);
	hog = hog_start();
	reach(&stage->user[HOG], 1);
	ask(WRITE_NEW);
	kill(stage->daemon, SIGCONT);
	ok(done(n + 1) && player_drain(stage, 2000),
	    "another host writes the new file before its maker has heard");
	ok(hog_stop(hog) && exited(pid), "it has");
	is_int(size_of(path), NEW_LEN, "O3: the size is the other host's");
	unlink(path);
}

static void
test_moved(void)
{
	char from[128], to[128], old[140], moved[140];
	pid_t pid, hog;
	uint64_t n = stage->user[DONE];

	snprintf(from, sizeof from, "%s/from", stage->mnt);
	snprintf(to, sizeof to, "%s/to", stage->mnt);
	snprintf(old, sizeof old, "%s/old", from);
	snprintf(moved, sizeof moved, "%s/moved", to);
	mkdir(from, 0755);
	mkdir(to, 0755);
	ask(MAKE_OLD);
	ok(done(n + 1) && player_drain(stage, 2000), "another host makes a file");
	is_int(size_of(old), OLD_LEN, "which is known here");
	is_int(size_of(moved), -ENOENT, "another name is not");
	stage->delay_ms = 100;
	ask(MOVE);
	ok(done(n + 2), "the file is moved there, which is not shown yet");
	kill(stage->daemon, SIGSTOP);
	pid = creator(moved, O_WRONLY, 1);
	ok(asleep(pid), "somebody makes that name");
	hog = hog_start();
	reach(&stage->user[HOG], 1);
	ask(WRITE_MOVED);
	kill(stage->daemon, SIGCONT);
	ok(done(n + 3), "another host writes the file");
	stage->delay_ms = 0;
	ok(player_drain(stage, 2000), "which is shown");
	ok(hog_stop(hog) && exited(pid), "and then he hears that it was there");
	is_int(size_of(moved), NEW_LEN, "O3: the size is the other host's");
}

/* A listing tells the attributes of what it lists. */
static void
test_listed(void)
{
	char dir[128], child[140], name[150];
	pid_t lists, makes, hog;
	struct stat st, st2;

	snprintf(dir, sizeof dir, "%s/dir", stage->mnt);
	snprintf(child, sizeof child, "%s/child", dir);
	snprintf(name, sizeof name, "%s/name", child);
	mkdir(dir, 0755);
	mkdir(child, 0755);
	ok(stat(child, &st) == 0, "a directory that is known here");
	lists = lister(dir);
	reach(&stage->user[LIST], OPENED);
	kill(stage->daemon, SIGSTOP);
	stage->user[LIST] = LIST_NOW;
	reach(&stage->user[LIST], LISTS);
	ok(asleep(lists), "somebody lists the one above");
	makes = creator(name, O_WRONLY | O_EXCL, 0);
	ok(asleep(makes), "somebody else makes a name in it");
	hog = hog_start();
	reach(&stage->user[HOG], 1);
	kill(stage->daemon, SIGCONT);
	ok(exited(makes), "it is made before the other has heard");
	ok(hog_stop(hog) && exited(lists), "he has");
	ok(stat(child, &st) == 0 && stat(name, &st2) == 0 &&
	    memcmp(&st.st_mtim, &st2.st_ctim, sizeof st.st_mtim) == 0,
	    "O3: the directory's time is that of the new name");
}

int
main(int argc, char **argv)
{
	player_helper(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
		skip_all("needs root and /dev/fuse");
	if (!run_on(0, 1) || !run_on(0, 0))
		skip_all("needs two processors");
	if (!real_time())
		skip_all("needs real-time scheduling");
	stage = player_stage("late");
	stage->remote_on = true;
	if (!player_start(stage, COMMIT_MS, 1, remote_tick, remote_outcome))
		bail_out("the file system is not mounted");
	test_new(O_RDWR | O_EXCL);
	test_new(BY_MKNOD);
	test_moved();
	test_listed();
	ok(player_drain(stage, 2000) && player_compare(stage),
	    "the kernel's view is the committed tree");
	player_stop(stage);
	return done_testing();
}
