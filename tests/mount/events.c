/*
 * events.c: a remote change raises the events of the system call it was (W1).
 *
 * Each operation is done natively on another file system, with watches on the
 * directories and on the objects, and then by a remote host with the same
 * watches on the mount: the two lists of events are equal.  OPEN, ACCESS and
 * CLOSE_NOWRITE don't count, a run of MODIFY is one.
 *
 * `events.t hosts A B...` does the same with one directory on real hosts: the
 * calls are made in A, the watches are in the others (hostevents.t).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mount/player.h"
#include "tap.h"
#include "tree/tree.h"

enum { ASK, BAD }; /* places in stage->user */

static struct stage *stage;

/* ---- what is there before each operation ---- */

static void
fill(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) != 0)
		abort();
}

static const char *const watched[] = {"a", "b", "a/f", "a/g", "a/h", "a/e",
	"a/s"};
enum { N_WATCHED = sizeof watched / sizeof watched[0] };

static void
prepare(void)
{
	if (mkdir("a", 0755) != 0 || mkdir("b", 0755) != 0)
		abort();
	fill("a/f", "one\n");
	fill("a/g", "two\n");
	fill("b/o", "three\n");
	if (link("a/g", "a/h") != 0 || mkdir("a/e", 0755) != 0 ||
	    symlink("t", "a/s") != 0)
		abort();
}

static void
clear(void)
{
	if (system("rm -rf a b") != 0)
		abort();
}

/* ---- the operations, natively ---- */

static int
change(const char *path, int flags, const char *text)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		return -1;
	if (text != NULL && write(fd, text, strlen(text)) < 0)
		return -1;
	return close(fd);
}

static int
times(const char *path, bool atime, bool mtime)
{
	const struct timespec ts[2] = {
	    {1000, atime ? 0 : UTIME_OMIT}, {2000, mtime ? 0 : UTIME_OMIT}};

	return utimensat(AT_FDCWD, path, ts, 0);
}

static int n_mknod(void) { return mknod("a/n", S_IFREG | 0644, 0); }
static int n_birth(void)
{
	return change("a/n", O_WRONLY | O_CREAT | O_EXCL, "new\n");
}
static int n_touch(void)
{
	return change("a/n", O_WRONLY | O_CREAT | O_EXCL, NULL);
}
static int n_mkdir(void) { return mkdir("a/n", 0755); }
static int n_symlink(void) { return symlink("x", "a/n"); }
static int n_link(void) { return link("a/f", "b/n"); }
static int n_write(void) { return change("a/f", O_WRONLY, "ONE\n"); }
static int n_append(void)
{
	return change("a/f", O_WRONLY | O_APPEND, "more\n");
}
static int n_truncate(void) { return truncate("a/f", 2); }
static int n_extend(void) { return truncate("a/f", 9); }
static int n_unlink(void) { return unlink("a/f"); }
static int n_unlink2(void) { return unlink("a/g"); }
static int n_unlink_s(void) { return unlink("a/s"); }
static int n_rmdir(void) { return rmdir("a/e"); }
static int n_rename(void) { return rename("a/f", "a/n"); }
static int n_rename2(void) { return rename("a/f", "b/n"); }
static int n_over(void) { return rename("b/o", "a/f"); }
static int n_rendir(void) { return rename("a/e", "b/e"); }
static int n_exchange(void)
{
	return renameat2(AT_FDCWD, "a/f", AT_FDCWD, "a/g", RENAME_EXCHANGE);
}
static int n_exchange2(void)
{
	return renameat2(AT_FDCWD, "a/e", AT_FDCWD, "b/o", RENAME_EXCHANGE);
}
static int n_chmod(void) { return chmod("a/f", 0600); }
static int n_chmod_dir(void) { return chmod("a/e", 0700); }
static int n_chmod_a(void) { return chmod("a", 0700); }
static int n_chown(void) { return chown("a/f", 1, 1); }
static int n_lchown(void) { return lchown("a/s", 1, 1); }
static int n_times(void) { return times("a/f", true, true); }
static int n_mtime(void) { return times("a/f", false, true); }
static int n_atime(void) { return times("a/f", true, false); }
static int n_xattr(void) { return setxattr("a/f", "user.x", "1", 1, 0); }
static int n_nothing(void) { return 0; }

/* With O_EXCL the name alone is the commit: to close it then is no revision and
 * raises nothing (W1).  Without, the file is born at its close. */
static int n_born_empty(void)
{
	return change("a/n", O_WRONLY | O_CREAT, NULL);
}

/* What raises nothing elsewhere, where it is the real thing (`hosts`). */
static int n_same(void) { return change("a/f", O_WRONLY, "one\n"); }
static int n_same_mode(void) { return chmod("a/f", 0644); }
static int n_refused(void)
{
	return mkdir("a/f", 0755) != 0 && unlink("a/none") != 0 &&
		rmdir("a/f") != 0 &&
		change("a/g", O_WRONLY | O_CREAT | O_EXCL, "x") != 0 &&
		renameat2(AT_FDCWD, "a/f", AT_FDCWD, "a/g",
		    RENAME_NOREPLACE) != 0
	    ? 0
	    : -1;
}

/* ---- and by the remote host ---- */

static uint64_t
at(struct remote *r, const char *path)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	uint64_t ino = tree_lookup_path(t, slice_str(path));

	store_abort(t);
	return ino;
}

static void
make(struct remote *r, enum command_kind kind, const char *name, uint32_t mode,
    const char *data)
{
	struct command c = {.kind = kind, .dir = at(r, "a"),
	    .name = slice_str(name), .ino = remote_ino(r), .mode = mode,
	    .flags = kind == COMMAND_create ? CREATE_EXCL : 0,
	    .data = slice_str(data)};

	remote_submit(r, &c);
}

static void
on_node(struct remote *r, enum command_kind kind, const char *path,
    uint32_t flags, uint32_t mode, const char *data)
{
	struct command c = {.kind = kind, .node = at(r, path), .flags = flags,
	    .mode = mode, .uid = 1, .gid = 1, .atime_ns = 1000 * 1000000000ull,
	    .mtime_ns = 2000 * 1000000000ull, .data = slice_str(data)};

	if (kind == COMMAND_setxattr)
		c.name = slice_str("user.x");
	remote_submit(r, &c);
}

static void
resize(struct remote *r, uint64_t size)
{
	struct command c = {.kind = COMMAND_truncate, .node = at(r, "a/f"),
	    .size = size};

	remote_submit(r, &c);
}

static void
names(struct remote *r, enum command_kind kind, const char *dir,
    const char *name, const char *dir2, const char *name2, uint32_t flags)
{
	char path[64], path2[64];
	struct command c = {.kind = kind, .dir = at(r, dir),
	    .name = slice_str(name), .dir2 = at(r, dir2),
	    .name2 = slice_str(name2), .flags = flags};

	snprintf(path, sizeof path, "%s/%s", dir, name);
	snprintf(path2, sizeof path2, "%s/%s", dir2, name2);
	c.node = at(r, path);
	c.node2 = at(r, path2);
	if (kind == COMMAND_link) {
		c.dir = c.dir2;
		c.name = c.name2;
	}
	remote_submit(r, &c);
}

#define R(fn) static void fn(struct remote *r)
R(r_mknod) { make(r, COMMAND_create, "n", S_IFREG | 0644, ""); }
R(r_birth) { make(r, COMMAND_birth, "n", S_IFREG | 0644, "new\n"); }
R(r_touch) { make(r, COMMAND_birth, "n", S_IFREG | 0644, ""); }
R(r_mkdir) { make(r, COMMAND_mkdir, "n", S_IFDIR | 0755, ""); }
R(r_symlink) { make(r, COMMAND_symlink, "n", S_IFLNK | 0777, "x"); }
R(r_link) { names(r, COMMAND_link, "a", "f", "b", "n", 0); }
R(r_write) { on_node(r, COMMAND_write, "a/f", 0, 0, "ONE\n"); }
R(r_append) { on_node(r, COMMAND_append, "a/f", 0, 0, "more\n"); }
R(r_truncate) { resize(r, 2); }
R(r_extend) { resize(r, 9); }
R(r_unlink) { names(r, COMMAND_unlink, "a", "f", "a", "none", 0); }
R(r_unlink2) { names(r, COMMAND_unlink, "a", "g", "a", "none", 0); }
R(r_unlink_s) { names(r, COMMAND_unlink, "a", "s", "a", "none", 0); }
R(r_rmdir) { names(r, COMMAND_rmdir, "a", "e", "a", "none", 0); }
R(r_rename) { names(r, COMMAND_rename, "a", "f", "a", "n", 0); }
R(r_rename2) { names(r, COMMAND_rename, "a", "f", "b", "n", 0); }
R(r_over) { names(r, COMMAND_rename, "b", "o", "a", "f", 0); }
R(r_rendir) { names(r, COMMAND_rename, "a", "e", "b", "e", 0); }
R(r_exchange)
{
	names(r, COMMAND_rename, "a", "f", "a", "g", RENAME_FLAG_EXCHANGE);
}
R(r_exchange2)
{
	names(r, COMMAND_rename, "a", "e", "b", "o", RENAME_FLAG_EXCHANGE);
}
R(r_chmod) { on_node(r, COMMAND_setattr, "a/f", SETATTR_MODE, 0600, ""); }
R(r_chmod_dir) { on_node(r, COMMAND_setattr, "a/e", SETATTR_MODE, 0700, ""); }
R(r_chmod_a) { on_node(r, COMMAND_setattr, "a", SETATTR_MODE, 0700, ""); }
R(r_chown)
{
	on_node(r, COMMAND_setattr, "a/f", SETATTR_UID | SETATTR_GID, 0, "");
}
R(r_lchown)
{
	on_node(r, COMMAND_setattr, "a/s", SETATTR_UID | SETATTR_GID, 0, "");
}
R(r_times)
{
	on_node(r, COMMAND_setattr, "a/f", SETATTR_ATIME | SETATTR_MTIME, 0, "");
}
R(r_mtime) { on_node(r, COMMAND_setattr, "a/f", SETATTR_MTIME, 0, ""); }
R(r_atime) { on_node(r, COMMAND_setattr, "a/f", SETATTR_ATIME, 0, ""); }
R(r_xattr) { on_node(r, COMMAND_setxattr, "a/f", 0, 0, "1"); }
R(r_same) { on_node(r, COMMAND_write, "a/f", 0, 0, "one\n"); }
R(r_same_mode) { on_node(r, COMMAND_setattr, "a/f", SETATTR_MODE, 0644, ""); }
R(r_exists)
{
	make(r, COMMAND_mkdir, "f", S_IFDIR | 0755, "");
	make(r, COMMAND_create, "g", S_IFREG | 0644, "");
	names(r, COMMAND_unlink, "a", "none", "a", "none", 0);
	names(r, COMMAND_rename, "a", "f", "a", "g", RENAME_FLAG_NOREPLACE);
	names(r, COMMAND_rmdir, "a", "f", "a", "none", 0);
}
R(r_count)
{
	char text[16];
	static unsigned n;

	snprintf(text, sizeof text, "%u", ++n);
	on_node(r, COMMAND_write, "a/f", 0, 0, text);
}

static const struct operation {
	const char *what;
	int (*native)(void);
	void (*remote)(struct remote *);
	int (*there)(void); /* on real hosts, instead of native() */
} operations[] = {
	{"mknod", n_mknod, r_mknod},
	{"a file made and written", n_birth, r_birth},
	{"an empty file made", n_touch, r_touch, n_born_empty},
	{"mkdir", n_mkdir, r_mkdir},
	{"symlink", n_symlink, r_symlink},
	{"link into another directory", n_link, r_link},
	{"write", n_write, r_write},
	{"append", n_append, r_append},
	{"truncate by path", n_truncate, r_truncate},
	{"truncate by path to more", n_extend, r_extend},
	{"unlink", n_unlink, r_unlink},
	{"unlink of one of two names", n_unlink2, r_unlink2},
	{"unlink of a link", n_unlink_s, r_unlink_s},
	{"rmdir", n_rmdir, r_rmdir},
	{"rename", n_rename, r_rename},
	{"rename into another directory", n_rename2, r_rename2},
	{"rename over a file", n_over, r_over},
	{"rename of a directory", n_rendir, r_rendir},
	{"exchange of files", n_exchange, r_exchange},
	{"exchange of a directory and a file", n_exchange2, r_exchange2},
	{"chmod", n_chmod, r_chmod},
	{"chmod of a directory in it", n_chmod_dir, r_chmod_dir},
	{"chmod of the watched directory", n_chmod_a, r_chmod_a},
	{"chown", n_chown, r_chown},
	{"chown of a link", n_lchown, r_lchown},
	{"utimensat, both times", n_times, r_times},
	{"utimensat, mtime alone", n_mtime, r_mtime},
	{"utimensat, atime alone", n_atime, r_atime},
	{"setxattr", n_xattr, r_xattr},
	{"a write of equal bytes", n_nothing, r_same, n_same},
	{"chmod to the same mode", n_nothing, r_same_mode, n_same_mode},
	{"changes that are refused", n_nothing, r_exists, n_refused},
	{NULL, NULL, r_count},
};
enum { N_OPERATIONS = sizeof operations / sizeof operations[0] - 1 };

static void
remote_tick(struct remote *r)
{
	uint64_t ask = stage->user[ASK];

	if (ask == 0)
		return;
	operations[ask - 1].remote(r);
	stage->user[ASK] = 0;
}

static void
ask(int operation)
{
	stage->user[ASK] = (uint64_t)operation + 1;
	for (int i = 0; i < 60000 && stage->user[ASK] != 0; i++)
		usleep(500);
}

static bool
ask_remote(int operation)
{
	ask(operation);
	return player_drain(stage, 5000);
}

/* ---- watching ---- */

static int
watch(int wd[N_WATCHED])
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	for (int i = 0; i < N_WATCHED; i++)
		wd[i] = inotify_add_watch(fd, watched[i],
		    (i == N_WATCHED - 1 ? IN_DONT_FOLLOW : 0) |
			(IN_ALL_EVENTS & ~(unsigned)(IN_OPEN | IN_ACCESS |
			    IN_CLOSE_NOWRITE)));
	return fd;
}

static const struct {
	uint32_t mask;
	const char *name;
} masks[] = {
	{IN_MODIFY, "MODIFY"}, {IN_ATTRIB, "ATTRIB"},
	{IN_CLOSE_WRITE, "CLOSE_WRITE"}, {IN_MOVED_FROM, "MOVED_FROM"},
	{IN_MOVED_TO, "MOVED_TO"}, {IN_CREATE, "CREATE"},
	{IN_DELETE, "DELETE"}, {IN_DELETE_SELF, "DELETE_SELF"},
	{IN_MOVE_SELF, "MOVE_SELF"}, {IN_IGNORED, "IGNORED"},
	{IN_Q_OVERFLOW, "OVERFLOW"}, {IN_ISDIR, "ISDIR"},
};

/* Cookies become 1, 2, ... in the order of their appearance. */
static void
describe(int fd, const int wd[N_WATCHED], char *ret, size_t size)
{
	char buf[16384] __attribute__((aligned(8))), line[256];
	char last[256] = "";
	uint32_t cookies[16], n_cookies = 0;
	size_t len = 0;
	ssize_t n;

	ret[0] = '\0';
	while ((n = read(fd, buf, sizeof buf)) > 0) {
		const struct inotify_event *e;

		for (char *p = buf; p < buf + n; p += sizeof *e + e->len) {
			const char *on = "?";
			uint32_t c = 0;
			int k;

			e = (const struct inotify_event *)p;
			for (int i = 0; i < N_WATCHED; i++)
				if (wd[i] == e->wd) {
					on = watched[i];
					break; /* a/g and a/h are one */
				}
			if (e->cookie != 0) {
				while (c < n_cookies && cookies[c] != e->cookie)
					c++;
				if (c == n_cookies && c < 16)
					cookies[n_cookies++] = e->cookie;
				c++;
			}
			k = snprintf(line, sizeof line, "%s", on);
			if (e->len > 0)
				k += snprintf(line + k, sizeof line - (size_t)k,
				    "[%s]", e->name);
			for (size_t m = 0; m < sizeof masks / sizeof *masks;
			     m++)
				if (e->mask & masks[m].mask)
					k += snprintf(line + k,
					    sizeof line - (size_t)k, " %s",
					    masks[m].name);
			if (c != 0)
				snprintf(line + k, sizeof line - (size_t)k,
				    " #%u", c);
			if ((e->mask & IN_MODIFY) && strcmp(line, last) == 0)
				continue;
			memcpy(last, line, sizeof last);
			len += (size_t)snprintf(ret + len, size - len, "%s; ",
			    line);
			if (len >= size)
				return;
		}
	}
}

/* What the operation raises on another file system. */
static void
expect(const struct operation *op, const char *elsewhere, char *ret,
    size_t size)
{
	int fd, wd[N_WATCHED];

	if (chdir(elsewhere) != 0)
		abort();
	prepare();
	fd = watch(wd);
	if (op->native() != 0)
		diag("%s: %s", op->what, strerror(errno));
	describe(fd, wd, ret, size);
	close(fd);
	clear();
}

static void
judge(const struct operation *op, const char *where, const char *native,
    const char *got)
{
	/* IN_ACCESS alone is what atime alone raises: nothing that counts. */
	if (!ok(strcmp(native, got) == 0 && (native[0] != '\0' ||
		op->native == n_nothing || op->native == n_atime),
		"W1: %s%s", op->what, where)) {
		diag("native: %s", native);
		diag("remote: %s", got);
	}
}

static void
compare(int operation, const char *elsewhere)
{
	const struct operation *op = &operations[operation];
	char native[8192], replayed[8192];
	int fd, wd[N_WATCHED];

	expect(op, elsewhere, native, sizeof native);
	if (chdir(stage->mnt) != 0)
		abort();
	prepare();
	player_drain(stage, 5000);
	fd = watch(wd);
	if (!ask_remote(operation))
		diag("the replay does not end");
	describe(fd, wd, replayed, sizeof replayed);
	close(fd);
	judge(op, "", native, replayed);
	clear();
}

/* ---- on real hosts ---- */

enum { OTHERS_MAX = 4 };

/* All that was committed before has been told to that host's kernel. */
static void
sync_host(const char *dir)
{
	char text[32];

	if (getxattr(dir, "gov.sync", text, sizeof text) <= 0)
		diag("%s: gov.sync: %s", dir, strerror(errno));
}

static void
compare_hosts(const struct operation *op, const char *elsewhere, int n,
    char **dirs)
{
	int fd[OTHERS_MAX], wd[OTHERS_MAX][N_WATCHED];
	char native[8192], got[8192], where[32];

	expect(op, elsewhere, native, sizeof native);
	if (chdir(dirs[0]) != 0)
		abort();
	prepare();
	for (int i = 1; i < n; i++) {
		sync_host(dirs[i]);
		if (chdir(dirs[i]) != 0)
			abort();
		fd[i] = watch(wd[i]);
	}
	if (chdir(dirs[0]) != 0)
		abort();
	if ((op->there != NULL ? op->there : op->native)() != 0)
		diag("%s: %s", op->what, strerror(errno));
	for (int i = 1; i < n; i++) {
		sync_host(dirs[i]);
		describe(fd[i], wd[i], got, sizeof got);
		close(fd[i]);
		snprintf(where, sizeof where, ", seen on host %d", i + 1);
		judge(op, where, native, got);
	}
	clear();
}

static int
on_hosts(int n, char **dirs, char *elsewhere)
{
	if (n < 2 || n > OTHERS_MAX || mkdtemp(elsewhere) == NULL)
		return 2;
	for (int i = 0; i < N_OPERATIONS; i++)
		compare_hosts(&operations[i], elsewhere, n, dirs);
	if (chdir("/") != 0)
		abort();
	rmdir(elsewhere);
	return done_testing();
}

/* W2: the k-th IN_CLOSE_WRITE finds the k-th content or a later one. */
static void
visible(void)
{
	char buf[4096] __attribute__((aligned(8))), text[16];
	int fd, file, n_events = 0, early = 0;
	struct pollfd pfd;
	ssize_t n;

	if (chdir(stage->mnt) != 0)
		abort();
	prepare();
	player_drain(stage, 5000);
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	inotify_add_watch(fd, "a", IN_CLOSE_WRITE);
	pfd = (struct pollfd){.fd = fd, .events = POLLIN};
	for (int i = 1; i <= 100; i++) {
		stage->user[ASK] = N_OPERATIONS + 1;
		if (poll(&pfd, 1, 30000) <= 0)
			break;
		n = read(fd, buf, sizeof buf);
		for (char *p = buf; p < buf + n;
		     p += sizeof(struct inotify_event) +
			 ((struct inotify_event *)p)->len)
			n_events++;
		memset(text, 0, sizeof text);
		file = open("a/f", O_RDONLY | O_CLOEXEC);
		if (file < 0 || read(file, text, sizeof text - 1) <= 0 ||
		    atoi(text) < n_events)
			early++;
		close(file);
	}
	is_int(n_events, 100, "W1: each of 100 commits raises its event");
	is_int(early, 0, "W2: the content is visible when the event comes");
	close(fd);
	clear();
}

/* Writes of one file that wait for their replay are one, but not over what else
 * happens to it: 5, then chmod, then 5. */
static void
merged(void)
{
	uint64_t before, tick = stage->n_ticks;
	char text[16] = "";
	int file, chmod_op = 0;

	if (chdir(stage->mnt) != 0)
		abort();
	prepare();
	player_drain(stage, 5000);
	while (operations[chmod_op].remote != r_chmod)
		chmod_op++;
	stage->delay_ms = 60000; /* all of them wait, however slow we are */
	while (stage->n_ticks < tick + 2)
		usleep(500);
	before = stage->n_replayed;
	for (int i = 0; i < 10; i++) {
		if (i == 5)
			ask(chmod_op);
		ask(N_OPERATIONS);
	}
	stage->delay_ms = 0;
	ask(N_OPERATIONS);
	player_drain(stage, 5000);
	is_int((int)(stage->n_replayed - before), 3,
	    "W3: writes that wait are replayed as one, in their place");
	file = open("a/f", O_RDONLY | O_CLOEXEC);
	if (read(file, text, sizeof text - 1) < 0)
		text[0] = '\0';
	close(file);
	is_int(atoi(text), 111, "with the last of the contents");
	clear();
}

int
main(int argc, char **argv)
{
	char elsewhere[] = "/var/tmp/govfs-events-XXXXXX";

	player_helper(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		puts("1..0 # SKIP needs root and /dev/fuse");
		return 0;
	}
	umask(022);
	if (argc > 1 && strcmp(argv[1], "hosts") == 0)
		return on_hosts(argc - 2, argv + 2, elsewhere);
	if (mkdtemp(elsewhere) == NULL)
		abort();
	stage = player_stage("events");
	if (!player_start(stage, 0, 1, remote_tick, NULL))
		return 1;
	stage->remote_on = true;
	for (int i = 0; i < N_OPERATIONS; i++)
		compare(i, elsewhere);
	visible();
	merged();
	if (chdir("/") != 0)
		abort();
	player_stop(stage);
	rmdir(elsewhere);
	return done_testing();
}
