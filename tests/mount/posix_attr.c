/*
 * posix_attr.c: modes, owners, times, permission, extended attributes.
 */
#include <sys/xattr.h>

#include "posix.h"

enum { BOB = 12345, CAROL = 12346, STAFF = 20001 };

static int
make(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	return fd < 0 ? -1 : close(fd);
}

static int
rewrite(const char *path, int flags, const char *text)
{
	int fd = open(path, flags), err = 0;

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	if (close(fd) != 0 && err == 0)
		err = errno;
	errno = err;
	return err != 0 ? -1 : 0;
}

static void
test_modes(void)
{
	make("f", 0666);
	is_int(stat_of("f").st_mode & 07777, 0644, "umask: is applied");
	works(chmod("f", 0751), "chmod");
	is_int(stat_of("f").st_mode, S_IFREG | 0751, "chmod: the mode");
	works(chmod("f", 04755), "chmod: set-user-ID");
	is_int(stat_of("f").st_mode & 07777, 04755, "chmod: shows it");
	works(chown("f", BOB, STAFF), "chown");
	is_int(stat_of("f").st_uid, BOB, "chown: the owner");
	is_int(stat_of("f").st_gid, STAFF, "chown: the group");
	is_int(stat_of("f").st_mode & 07777, 0755, "chown: drops set-user-ID");
	chmod("f", 04777);
	is_int(as(CAROL, CAROL, rewrite("f", O_WRONLY, "x")), 0,
	    "write: by somebody else");
	is_int(stat_of("f").st_mode & 07777, 0777,
	    "write: drops set-user-ID");
	fails(chmod("absent", 0644), ENOENT, "chmod: an absent name");
	works(chown("f", -1, CAROL), "chown: the group alone");
	is_int(stat_of("f").st_uid, BOB, "chown: leaves the owner");
	symlink("f", "l");
	works(lchown("l", BOB, BOB), "lchown");
	is_int(stat_of("l").st_uid, BOB, "lchown: the link's owner");
}

enum changes { WRITES, TRUNCATES, EXTENDS, OPENS_TRUNC, SYNCS, APPENDS };

/* Changes a file's content in one of the ways there are. */
static int
change(const char *path, enum changes how)
{
	int flags = how == OPENS_TRUNC ? O_TRUNC : how == APPENDS ? O_APPEND : 0;
	int fd, err;

	if (how == TRUNCATES)
		return truncate(path, 1);
	fd = open(path, O_WRONLY | flags);
	if (fd < 0)
		return -1;
	if (how == EXTENDS)
		err = ftruncate(fd, 100);
	else
		err = how == OPENS_TRUNC || write(fd, "new", 3) == 3 ? 0 : -1;
	if (how == SYNCS && fsync(fd) != 0)
		err = -1;
	return close(fd) != 0 ? -1 : err;
}

/* Asks for nothing else: that could refresh what a kernel remembers of it. */
static mode_t
mode_of(const char *path)
{
	struct statx x = {0};

	if (statx(AT_FDCWD, path, 0, STATX_MODE, &x) != 0)
		diag("statx %s: %s", path, strerror(errno));
	return x.stx_mode & 07777;
}

/* What a mode that grants somebody's rights becomes with a new content. */
static void
test_privileges(void)
{
	static const char *const names[] = {"write", "truncate", "ftruncate",
	    "O_TRUNC", "fsync", "append"};
	static const struct {
		mode_t before, others, members;
	} modes[] = {
	    {06777, 0777, 0777},
	    {04777, 0777, 0777},
	    {02777, 0777, 0777},
	    {02767, 0767, 02767}, /* no program: it once meant a lock */
	};

	for (unsigned m = 0; m < sizeof modes / sizeof modes[0]; m++) {
		for (enum changes how = WRITES; how <= APPENDS; how++) {
			mode_t was = modes[m].before;

			put("priv", "old content");
			chown("priv", 0, STAFF);
			chmod("priv", was);
			is_int(mode_of("priv"), was,
			    "mode %o is shown", was);
			works(change("priv", how), "%s by root", names[how]);
			is_int(mode_of("priv"), was,
			    "%s by root keeps mode %o", names[how], was);
			put("priv", "old content");
			is_int(as(CAROL, STAFF, change("priv", how)), 0,
			    "%s by a member of the group", names[how]);
			is_int(mode_of("priv"),
			    modes[m].members, "S2: it leaves %o of mode %o",
			    modes[m].members, was);
			chmod("priv", was);
			put("priv", "old content");
			is_int(as(CAROL, CAROL, change("priv", how)), 0,
			    "%s by others", names[how]);
			is_int(mode_of("priv"),
			    modes[m].others, "S2: it leaves %o of mode %o",
			    modes[m].others, was);
			unlink("priv");
		}
	}
}

static void
test_permission(void)
{
	mkdir("p", 0755);
	make("p/f", 0644);
	put("p/f", "text");
	is_int(as(BOB, BOB, open("p/f", O_RDONLY)), 0, "mode: others read");
	is_int(as(BOB, BOB, open("p/f", O_WRONLY)), EACCES,
	    "S2: others don't write");
	is_int(as(BOB, BOB, open("p/new", O_WRONLY | O_CREAT, 0644)), EACCES,
	    "S2: nor make names");
	is_int(as(BOB, BOB, unlink("p/f")), EACCES, "S2: nor remove them");
	is_int(as(BOB, BOB, rename("p/f", "p/g")), EACCES, "S2: nor move");
	is_int(as(BOB, BOB, mkdir("p/d", 0755)), EACCES, "S2: mkdir");
	is_int(as(BOB, BOB, symlink("x", "p/s")), EACCES, "S2: symlink");
	is_int(as(BOB, BOB, chmod("p/f", 0666)), EPERM, "S2: nor chmod");
	is_int(as(BOB, BOB, chown("p/f", BOB, BOB)), EPERM, "S2: nor chown");
	is_int(as(BOB, BOB, truncate("p/f", 0)), EACCES, "S2: nor truncate");
	is_int(as(BOB, BOB, utimensat(AT_FDCWD, "p/f", NULL, 0)), EACCES,
	    "S2: nor touch");
	is_int(as(BOB, BOB, setxattr("p/f", "user.x", "y", 1, 0)), EACCES,
	    "S2: nor set attributes");
	chmod("p", 0700);
	is_int(as(BOB, BOB, open("p/f", O_RDONLY)), EACCES,
	    "mode: nothing is reached through a closed directory");
	chmod("p", 0777);
	is_int(as(BOB, BOB, make("p/bobs", 0444)), 0, "mode: a file of one's "
	    "own in an open directory");
	is_int(stat_of("p/bobs").st_uid, BOB, "owner: who made it");
	is_int(as(BOB, BOB, rewrite("p/bobs", O_WRONLY, "x")), EACCES,
	    "mode: a read-only file is not opened by its owner");
	is_int(as(BOB, BOB, chmod("p/bobs", 0600)), 0, "mode: but changed");
	is_int(as(BOB, BOB, rewrite("p/bobs", O_WRONLY, "x")), 0,
	    "mode: and then written");
	is_int(as(CAROL, CAROL, open("p/bobs", O_RDONLY)), EACCES,
	    "mode: others don't read it");
	is_int(as(CAROL, CAROL, open("p/bobs",
	    O_WRONLY | O_CREAT | O_TRUNC, 0644)), EACCES,
	    "mode: nor truncate it by O_CREAT");
	is_int(as(CAROL, CAROL, access("p/bobs", R_OK)), EACCES,
	    "access: says so");
	is_int(as(CAROL, CAROL, access("p/bobs", F_OK)), 0, "access: F_OK");
	is_int(as(BOB, BOB, access("p/bobs", R_OK | W_OK)), 0,
	    "access: its owner");
	is_int(as(BOB, BOB, access("p/bobs", X_OK)), EACCES,
	    "access: no execution");
	fails(access("p/bobs", X_OK), EACCES, "access: not even by root");
	is_int(as(BOB, BOB, unlink("p/f")), 0,
	    "mode: an open directory lets others remove");
	is_int(as(BOB, BOB, chown("p/bobs", CAROL, -1)), EPERM,
	    "chown: nobody but root gives away");
	is_int(as(BOB, BOB, chown("p/bobs", BOB, STAFF)), EPERM,
	    "chown: nor to a group of others");
}

static int
write_as_member(const char *path)
{
	gid_t groups[] = {STAFF};

	if (setgroups(1, groups) != 0 || setgid(BOB) != 0 || setuid(BOB) != 0)
		return -1;
	return rewrite(path, O_WRONLY | O_TRUNC, "by a member");
}

static void
test_groups(void)
{
	int status;
	pid_t pid;

	make("g", 0660);
	chmod("g", 0660);
	chown("g", 0, STAFF);
	pid = fork();
	if (pid == 0)
		_exit(write_as_member("g") == 0 ? 0 : errno);
	waitpid(pid, &status, 0);
	is_int(WEXITSTATUS(status), 0, "S2: a supplementary group may write");
	is_str(get("g"), "by a member", "S2: and its close commits");
	mkdir("sg", 0777);
	chown("sg", 0, STAFF);
	chmod("sg", 02777);
	is_int(as(BOB, BOB, make("sg/f", 0644)), 0, "setgid directory: a file");
	is_int(stat_of("sg/f").st_gid, STAFF, "setgid directory: its group");
	is_int(as(BOB, BOB, mkdir("sg/d", 0755)), 0, "setgid directory: mkdir");
	is_int(stat_of("sg/d").st_gid, STAFF, "setgid directory: its group");
	is_int(stat_of("sg/d").st_mode & 07777, 02755,
	    "setgid directory: passed on");
	is_int(as(BOB, BOB, symlink("x", "sg/l")), 0, "setgid directory: link");
	is_int(stat_of("sg/l").st_gid, STAFF, "setgid directory: its group");
}

static void
test_sticky(void)
{
	mkdir("st", 0777);
	chmod("st", 01777);
	as(BOB, BOB, make("st/bobs", 0666));
	is_int(as(CAROL, CAROL, unlink("st/bobs")), EPERM,
	    "sticky: others don't remove");
	is_int(as(CAROL, CAROL, rename("st/bobs", "st/mine")), EPERM,
	    "sticky: nor move");
	as(CAROL, CAROL, make("st/carols", 0666));
	is_int(as(CAROL, CAROL, rename("st/carols", "st/bobs")), EPERM,
	    "sticky: nor replace");
	is_int(as(BOB, BOB, rename("st/bobs", "st/mine")), 0,
	    "sticky: the owner moves");
	is_int(as(BOB, BOB, unlink("st/mine")), 0, "sticky: and removes");
}

static void
test_creator(void)
{
	int fd = open("c", O_WRONLY | O_CREAT | O_EXCL, 0400);

	is_int(write(fd, "once", 4), 4, "S2: a read-only file is filled by "
	    "the handle that made it");
	works(close(fd), "S2: and commits");
	is_str(get("c"), "once", "S2: its content");
	mkdir("cd", 0777);
	chmod("cd", 0777);
	is_int(as(BOB, BOB, ({
		int f = open("cd/c", O_RDWR | O_CREAT, 0);
		f < 0 || write(f, "x", 1) != 1 || close(f) != 0 ? -1 : 0;
	})), 0, "S2: mode 0 too");
	is_int(stat_of("cd/c").st_mode & 07777, 0, "S2: which it has then");
}

static void
test_times(void)
{
	struct timespec ts[2] = {{1000000000, 123456789},
	    {1100000000, 987654321}};
	struct stat a, b;
	int fd;

	put("t", "x");
	a = stat_of("t");
	works(utimensat(AT_FDCWD, "t", ts, 0), "utimens");
	b = stat_of("t");
	is_int(ns_of(b.st_atim), ns_of(ts[0]), "utimens: atime, to 1 ns");
	is_int(ns_of(b.st_mtim), ns_of(ts[1]), "utimens: mtime, to 1 ns");
	ok(ns_of(b.st_ctim) > ns_of(a.st_ctim), "F7: ctime grows");
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1] = (struct timespec){1200000000, 5};
	works(utimensat(AT_FDCWD, "t", ts, 0), "utimens: mtime alone");
	b = stat_of("t");
	is_int(b.st_atim.tv_sec, 1000000000, "utimens: leaves atime");
	is_int(b.st_mtim.tv_sec, 1200000000, "utimens: sets mtime");
	ts[0] = (struct timespec){1300000000, 7};
	ts[1].tv_nsec = UTIME_OMIT;
	works(utimensat(AT_FDCWD, "t", ts, 0), "utimens: atime alone");
	is_int(stat_of("t").st_atim.tv_sec, 1300000000, "utimens: sets it");
	is_int(stat_of("t").st_mtim.tv_sec, 1200000000, "utimens: alone");
	works(utimensat(AT_FDCWD, "t", NULL, 0), "utimens: now");
	b = stat_of("t");
	ok(ns_of(b.st_mtim) > ns_of(a.st_mtim), "utimens: now is later");
	a = b;
	for (int i = 0; i < 20; i++) {
		put("t", i % 2 ? "x" : "y");
		b = stat_of("t");
		if (ns_of(b.st_mtim) <= ns_of(a.st_mtim) ||
		    ns_of(b.st_ctim) <= ns_of(a.st_ctim))
			break;
		a = b;
	}
	if (!native())
		ok(ns_of(b.st_mtim) == ns_of(a.st_mtim),
		    "F7: each commit's mtime and ctime are later");
	a = stat_of(".");
	put("tnew", "x");
	b = stat_of(".");
	if (!native())
		ok(ns_of(b.st_mtim) > ns_of(a.st_mtim) &&
		    ns_of(b.st_ctim) > ns_of(a.st_ctim),
		    "F7: a new name changes its directory's times");
	ts[0] = (struct timespec){1000000000, 1};
	ts[1] = (struct timespec){1100000000, 2};
	fd = open("tnew", O_WRONLY);
	is_int(write(fd, "draft", 5), 5, "times: write");
	works(futimens(fd, ts), "times: then futimens");
	fstat(fd, &b);
	is_int(ns_of(b.st_mtim), ns_of(ts[1]), "times: fstat shows them");
	is_int(b.st_size, 5, "times: with the draft's size");
	close(fd);
	is_int(ns_of(stat_of("tnew").st_mtim), ns_of(ts[1]),
	    "times: close keeps them");
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_sec++;
	fd = open("tnew", O_WRONLY | O_TRUNC);
	is_int(write(fd, "again", 5), 5, "times: write");
	works(futimens(fd, ts), "times: then futimens of mtime alone");
	close(fd);
	is_int(ns_of(stat_of("tnew").st_mtim), ns_of(ts[1]),
	    "times: close keeps it");
	fd = open("tnew2", O_WRONLY | O_CREAT, 0644);
	is_int(write(fd, "new", 3), 3, "times: write to a new file");
	works(futimens(fd, ts), "times: then futimens of mtime alone");
	fchmod(fd, 0600);
	close(fd);
	is_int(ns_of(stat_of("tnew2").st_mtim), ns_of(ts[1]),
	    "F2: its birth keeps it");
	is_int(stat_of("tnew2").st_mode & 07777, 0600, "F2: and its mode");
	fd = open("tnew3", O_WRONLY | O_CREAT, 0644);
	futimens(fd, ts);
	is_int(write(fd, "new", 3), 3, "times: write after futimens");
	close(fd);
	ok(ns_of(stat_of("tnew3").st_mtim) > ns_of(ts[1]),
	    "F2: what is written afterwards is later");
}

static void
test_xattrs(void)
{
	char buf[70000], name[300];
	int n;

	put("x", "x");
	works(setxattr("x", "user.a", "value", 5, 0), "xattr: set");
	is_int(getxattr("x", "user.a", buf, sizeof buf), 5, "xattr: get");
	is_mem(buf, "value", 5, "xattr: the bytes");
	is_int(getxattr("x", "user.a", NULL, 0), 5, "xattr: its length");
	fails(getxattr("x", "user.a", buf, 2), ERANGE, "xattr: ERANGE");
	fails(getxattr("x", "user.b", buf, 9), ENODATA, "xattr: ENODATA");
	fails(setxattr("x", "user.a", "v", 1, XATTR_CREATE), EEXIST,
	    "xattr: XATTR_CREATE of one that is there");
	fails(setxattr("x", "user.b", "v", 1, XATTR_REPLACE), ENODATA,
	    "xattr: XATTR_REPLACE of none");
	works(setxattr("x", "user.b", "", 0, XATTR_CREATE), "xattr: empty");
	is_int(getxattr("x", "user.b", buf, 9), 0, "xattr: is there");
	works(setxattr("x", "user.a", "v2", 2, XATTR_REPLACE),
	    "xattr: replace");
	is_int(listxattr("x", NULL, 0), 14, "xattr: length of the list");
	is_int(listxattr("x", buf, sizeof buf), 14, "xattr: list");
	is_mem(buf, "user.a\0user.b\0", 14, "xattr: both names");
	fails(listxattr("x", buf, 3), ERANGE, "xattr: list, ERANGE");
	works(removexattr("x", "user.a"), "xattr: remove");
	fails(removexattr("x", "user.a"), ENODATA, "xattr: remove again");
	mkdir("xd", 0755);
	works(setxattr("xd", "user.d", "dir", 3, 0), "xattr: of a directory");
	symlink("x", "xl");
	fails(lsetxattr("xl", "user.l", "x", 1, 0), EPERM, "xattr: of a link");
	if (native())
		return;
	memset(buf, 'v', sizeof buf);
	works(setxattr("x", "user.big", buf, 4096, 0), "xattr: 4,096 bytes");
	fails(setxattr("x", "user.big", buf, 4097, 0), E2BIG,
	    "F8: a longer value");
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = '\0';
	works(setxattr("x", name, "x", 1, 0), "xattr: a name of 255 bytes");
	for (n = 3; n < 70; n++) {
		snprintf(name, sizeof name, "user.n%d", n);
		if (setxattr("x", name, "x", 1, 0) != 0)
			break;
	}
	ok(n == 64 && errno == ENOSPC, "F8: 64 attributes of a file");
	fails(getxattr("x", "system.posix_acl_access", buf, 100), EOPNOTSUPP,
	    "F6: ACL probes: get");
	fails(setxattr("x", "system.posix_acl_access", buf, 4, 0), EOPNOTSUPP,
	    "F6: ACL probes: set");
	fails(getxattr("x", "system.foo", buf, 100), EOPNOTSUPP,
	    "F6: system.*: get");
	fails(setxattr("x", "system.foo", "x", 1, 0), EOPNOTSUPP,
	    "F6: system.*: set");
	is_int(as(BOB, BOB, setxattr("x", "system.foo", "x", 1, 0)), EOPNOTSUPP,
	    "S2: by anybody");
	fails(setxattr("x", "trusted.x", "x", 1, 0), EOPNOTSUPP,
	    "xattr: trusted.*");
	fails(setxattr("x", "security.x", "x", 1, 0), EOPNOTSUPP,
	    "xattr: security.*");
	fails(getxattr("x", "security.selinux", buf, 9), ENODATA,
	    "xattr: security.selinux, as ls asks");
}

static void
test_no_ops(void)
{
	struct timespec ts[2] = {{1000000000, 1}, {1100000000, 2}};
	struct stat a, b;

	if (native())
		return;
	put("n", "same");
	chmod("n", 0640);
	utimensat(AT_FDCWD, "n", ts, 0);
	a = stat_of("n");
	chmod("n", 0640);
	chown("n", 0, 0);
	utimensat(AT_FDCWD, "n", ts, 0);
	put("n", "same");
	truncate("n", 4);
	b = stat_of("n");
	ok(ns_of(a.st_ctim) == ns_of(b.st_ctim) &&
	    ns_of(a.st_mtim) == ns_of(b.st_mtim),
	    "F5: what changes nothing changes no time");
}

int
main(int argc, char **argv)
{
	enter(argc, argv);
	test_modes();
	test_privileges();
	test_permission();
	test_groups();
	test_sticky();
	test_creator();
	test_times();
	test_xattrs();
	test_no_ops();
	return done_testing();
}
