/*
 * posix_name.c: names made, moved, removed and listed.
 */
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include <dirent.h>
#include <limits.h>

#include "posix.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

static void
test_mkdir(void)
{
	is_int(stat_of(".").st_nlink, 2, "F7: an empty directory has 2 links");
	works(mkdir("d", 0750), "mkdir");
	is_int(stat_of("d").st_mode, S_IFDIR | 0750, "mkdir: the mode");
	is_int(stat_of("d").st_nlink, 2, "mkdir: its links");
	is_int(stat_of(".").st_nlink, 3, "mkdir: its parent's links");
	fails(mkdir("d", 0755), EEXIST, "F6: mkdir refuses a name");
	put("f", "f");
	fails(mkdir("f", 0755), EEXIST, "mkdir: a file's name");
	fails(mkdir("absent/d", 0755), ENOENT, "mkdir: below nothing");
	fails(mkdir("f/d", 0755), ENOTDIR, "mkdir: below a file");
	put("d/x", "x");
	fails(rmdir("d"), ENOTEMPTY, "rmdir: a directory with names");
	fails(rmdir("f"), ENOTDIR, "rmdir: a file");
	fails(unlink("d"), EISDIR, "unlink: a directory");
	fails(rmdir("d/."), EINVAL, "rmdir: dot");
	works(unlink("d/x"), "unlink: a file");
	fails(unlink("d/x"), ENOENT, "unlink: an absent name");
	works(rmdir("d"), "rmdir: an empty directory");
	fails(rmdir("d"), ENOENT, "rmdir: an absent name");
	is_int(stat_of(".").st_nlink, 2, "rmdir: the parent's links");
}

static void
test_unborn_directory(void)
{
	int fd;

	mkdir("ud", 0755);
	mkdir("ue", 0755);
	fd = open("ud/new", O_WRONLY | O_CREAT, 0644);
	fails(rmdir("ud"), ENOTEMPTY, "F2: a file not committed yet holds "
	    "its directory");
	fails(rename("ue", "ud"), ENOTEMPTY, "F2: against a rename too");
	fails(mkdir("ud/new", 0755), EEXIST, "F2: and its name: mkdir");
	fails(open("ud/new", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST,
	    "F2: O_EXCL");
	is_str(get("ud/new"), "", "F2: others here see it empty");
	works(close(fd), "F2: close commits it");
	works(unlink("ud/new"), "F2: it can be removed");
	works(rename("ue", "ud"), "rename: over an empty directory");
	works(rmdir("ud"), "rename: which is then one");
}

static void
test_link(void)
{
	ino_t ino;

	put("a", "same");
	works(link("a", "b"), "link");
	is_int(stat_of("a").st_nlink, 2, "link: two links");
	ok(stat_of("a").st_ino == stat_of("b").st_ino, "link: one inode");
	fails(link("a", "b"), EEXIST, "F6: link refuses a name");
	mkdir("d", 0755);
	fails(link("d", "e"), EPERM, "link: a directory");
	fails(link("absent", "e"), ENOENT, "link: an absent name");
	fails(link("a", "absent/e"), ENOENT, "link: below nothing");
	put("b", "changed");
	is_str(get("a"), "changed", "link: one content");
	works(unlink("a"), "link: remove one");
	is_str(get("b"), "changed", "link: the other stays");
	is_int(stat_of("b").st_nlink, 1, "link: with one link");
	ino = stat_of("b").st_ino;
	works(rename("b", "a"), "link: and moves");
	ok(stat_of("a").st_ino == ino, "F7: with its inode number");
	rmdir("d");
}

static void
test_symlink(void)
{
	char buf[PATH_MAX + 1], longest[PATH_MAX + 1];
	int n;

	works(symlink("no/b/../c", "s"), "symlink");
	is_int(readlink("s", buf, sizeof buf), 9, "readlink: its length");
	is_mem(buf, "no/b/../c", 9, "readlink: the bytes");
	is_int(readlink("s", buf, 3), 3, "readlink: cut to the buffer");
	is_int(stat_of("s").st_size, 9, "symlink: its size");
	is_int(stat_of("s").st_mode, S_IFLNK | 0777, "symlink: its mode");
	fails(symlink("x", "s"), EEXIST, "F6: symlink refuses a name");
	fails(symlink("", "t"), ENOENT, "symlink: an empty target");
	fails(readlink("a", buf, sizeof buf), EINVAL, "readlink: of a file");
	fails(open("s", O_RDONLY), ENOENT, "symlink: to nowhere");
	memset(longest, 'x', PATH_MAX);
	longest[PATH_MAX - 1] = '\0';
	n = symlink(longest, "long");
	if (!native())
		is_int(n, 0, "symlink: 4,095 bytes");
	if (n == 0)
		is_int(readlink("long", buf, sizeof buf), PATH_MAX - 1,
		    "readlink: all of them");
	works(symlink("loop", "loop"), "symlink: to itself");
	fails(open("loop", O_RDONLY), ELOOP, "symlink: a loop");
	unlink("s");
	unlink("long");
	unlink("loop");
}

static int
renameat_(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to,
	    flags);
}

static void
test_rename(void)
{
	ino_t ino;

	put("r1", "one");
	put("r2", "two");
	ino = stat_of("r1").st_ino;
	works(rename("r1", "r3"), "rename: to a new name");
	ok(stat_of("r3").st_ino == ino, "F7: keeps the inode number");
	fails(access("r1", F_OK), ENOENT, "rename: the old name is gone");
	works(rename("r3", "r2"), "rename: over a file");
	is_str(get("r2"), "one", "rename: has its content");
	works(rename("r2", "r2"), "rename: to itself");
	link("r2", "r4");
	works(rename("r2", "r4"), "rename: between two names of one file");
	is_int(stat_of("r2").st_nlink, 2, "rename: does nothing");
	unlink("r4");
	fails(rename("absent", "x"), ENOENT, "rename: an absent name");
	put("r5", "five");
	fails(renameat_("r2", "r5", RENAME_NOREPLACE), EEXIST,
	    "F6: NOREPLACE refuses a name");
	is_str(get("r5"), "five", "F6: and leaves it");
	works(renameat_("r2", "r6", RENAME_NOREPLACE), "F6: NOREPLACE of a "
	    "free name");
	works(renameat_("r5", "r6", RENAME_EXCHANGE), "F6: EXCHANGE");
	is_str(get("r5"), "one", "F6: one way");
	is_str(get("r6"), "five", "F6: and the other");
	fails(renameat_("r5", "absent", RENAME_EXCHANGE), ENOENT,
	    "rename: EXCHANGE with nothing");
	if (!native())
		fails(renameat_("r5", "r7", RENAME_WHITEOUT), EINVAL,
		    "rename: other flags are refused");
	unlink("r5");
	unlink("r6");
}

static void
test_rename_directory(void)
{
	int fd, cwd;
	struct stat st;

	mkdir("A", 0755);
	mkdir("A/sub", 0755);
	put("A/sub/f", "deep");
	mkdir("B", 0755);
	put("B/x", "x");
	fails(rename("A", "B"), ENOTEMPTY, "F6: over a directory with names");
	fails(rename("A", "A/sub/A"), EINVAL, "rename: below itself");
	fails(rename("A", "B/x"), ENOTDIR, "rename: a directory over a file");
	fails(rename("B/x", "A"), EISDIR, "rename: a file over a directory");
	cwd = open("A/sub", O_RDONLY | O_DIRECTORY);
	fd = open("A/sub/f", O_RDONLY);
	works(rename("A", "B/C"), "F6: a tree moves");
	is_int(stat_of(".").st_nlink, 3, "rename: its old parent's links");
	is_int(stat_of("B").st_nlink, 3, "rename: its new parent's");
	is_str(get("B/C/sub/f"), "deep", "rename: with all below");
	works(fstatat(cwd, "f", &st, 0), "rename: an open directory goes on");
	works(fstat(fd, &st), "rename: so does an open file");
	mkdir("E", 0755);
	put("E/e", "e");
	works(renameat_("E", "B", RENAME_EXCHANGE), "F6: EXCHANGE of trees");
	is_str(get("E/C/sub/f"), "deep", "F6: one");
	is_str(get("B/e"), "e", "F6: and the other");
	fails(renameat_("E", "E/C/sub", RENAME_EXCHANGE), EINVAL,
	    "rename: EXCHANGE with a directory below");
	put("file", "file");
	works(renameat_("file", "B", RENAME_EXCHANGE), "F6: EXCHANGE of a "
	    "file and a directory");
	is_str(get("file/e"), "e", "F6: changes their places");
	is_str(get("B"), "file", "F6: both");
	close(fd);
	close(cwd);
}

static void
test_unborn_rename(void)
{
	int fd = open("n1", O_WRONLY | O_CREAT, 0644);

	if (write(fd, "half", 4) != 4)
		diag("write: %s", strerror(errno));
	works(rename("n1", "n2"), "F2: a file renamed before its close");
	is_int(write(fd, "+rest", 5), 5, "F2: is written to");
	works(close(fd), "F2: and closed");
	is_str(get("n2"), "half+rest", "F2: under its new name");
	fails(access("n1", F_OK), ENOENT, "F2: and only there");
	fd = open("n3", O_WRONLY | O_CREAT, 0644);
	if (write(fd, "lost", 4) != 4)
		diag("write: %s", strerror(errno));
	works(rename("n2", "n3"), "F2: renamed over a file not committed yet");
	works(close(fd), "F2: whose close finds no name");
	is_str(get("n3"), "half+rest", "F2: the name is the other's");
	fd = open("n4", O_WRONLY | O_CREAT, 0644);
	if (write(fd, "linked", 6) != 6)
		diag("write: %s", strerror(errno));
	works(link("n4", "n5"), "F2: linked before its close");
	works(close(fd), "F2: and closed");
	is_str(get("n5"), "linked", "F2: has its content by both names");
	is_int(stat_of("n4").st_nlink, 2, "F2: two of them");
}

static void
test_refused(void)
{
	if (native())
		return;
	fails(mkfifo("fifo", 0644), EPERM, "F6: no FIFOs");
	fails(mknod("sock", S_IFSOCK | 0644, 0), EPERM, "F6: no sockets");
	fails(mknod("chr", S_IFCHR | 0644, 0x103), EPERM, "F6: no devices");
	works(mknod("reg", S_IFREG | 0644, 0), "mknod: a regular file");
	fails(mknod("reg", S_IFREG | 0644, 0), EEXIST, "mknod: its name");
	fails(mkdir("../.gov", 0755), EEXIST, "F6: .gov is taken: mkdir");
	mkdir("gd", 0755);
	fails(rename("gd", "../.gov"), EPERM, "F6: rename to .gov");
	fails(open("../.gov/version", O_WRONLY), EPERM,
	    "F6: .gov is the system's: open");
	fails(open("../.gov/x", O_WRONLY | O_CREAT, 0644), EPERM,
	    "F6: create");
	fails(mkdir("../.gov/x", 0755), EPERM, "F6: mkdir");
	fails(unlink("../.gov/version"), EPERM, "F6: unlink");
	fails(rename("../.gov", "x"), EPERM, "F6: rename of .gov");
	fails(chmod("../.gov/version", 0777), EPERM, "F6: chmod");
}

static void
test_lengths(void)
{
	char name[300], path[PATH_MAX];
	int depth, top, fd, next;

	memset(name, 'n', sizeof name);
	name[255] = '\0';
	works(put(name, "x"), "F8: a name of 255 bytes");
	works(unlink(name), "F8: which can be removed");
	name[255] = 'n';
	name[256] = '\0';
	fails(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG,
	    "F8: 256 bytes are too many: open");
	fails(mkdir(name, 0755), ENAMETOOLONG, "F8: mkdir");
	fails(access(name, F_OK), ENAMETOOLONG, "F8: lookup");
	fails(rename("reg", name), native() ? ENOENT : ENAMETOOLONG,
	    "F8: rename");
	top = fd = open(".", O_RDONLY);
	for (depth = 0; depth < 240; depth++) {
		if (mkdirat(fd, "deep", 0755) != 0)
			break;
		next = openat(fd, "deep", O_RDONLY);
		if (fd != top)
			close(fd);
		fd = next;
	}
	is_int(depth, 240, "F8: 240 directories in each other");
	close(fd);
	memset(path, 0, sizeof path);
	for (int i = 0; i < depth; i++)
		strcat(path, i == 0 ? "deep" : "/deep");
	works(access(path, F_OK), "F8: reached by their path");
	while (depth-- > 0) {
		if (rmdir(path) != 0)
			break;
		if (depth > 0)
			path[strlen(path) - 5] = '\0';
	}
	is_int(depth, -1, "F8: and removed again");
	close(top);
}

static void
test_statvfs(void)
{
	struct statvfs before, after;
	char *big = calloc(1, 1 << 20);
	int fd;

	if (native())
		return;
	works(statvfs(".", &before), "statfs");
	is_int(before.f_namemax, 255, "statfs: the longest name");
	ok(before.f_bfree <= before.f_blocks && before.f_blocks > 0,
	    "statfs: blocks");
	fd = open("mega", O_WRONLY | O_CREAT, 0644);
	is_int(write(fd, big, 1 << 20), 1 << 20, "statfs: write 1 MiB");
	close(fd);
	statvfs(".", &after);
	is_int((before.f_bfree - after.f_bfree) * after.f_frsize, 1 << 20,
	    "F8: it is taken from the tree's bytes");
	is_int(before.f_ffree - after.f_ffree, 1, "F8: and inodes");
	unlink("mega");
	statvfs(".", &after);
	is_int(after.f_bfree, before.f_bfree, "F8: and given back");
	free(big);
}

static void
test_listing(void)
{
	enum { N = 5000 };
	char name[32];
	static bool seen[N];
	struct dirent *e;
	int n = 0, twice = 0, wrong = 0;
	long middle = -1;
	char at_middle[256] = "";
	DIR *dir;

	mkdir("many", 0755);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "many/n%04d", i);
		if (symlink("x", name) != 0)
			diag("%s: %s", name, strerror(errno));
	}
	dir = opendir("many");
	while ((e = readdir(dir)) != NULL) {
		int i = atoi(e->d_name + 1);

		if (e->d_name[0] == '.')
			continue;
		if (seen[i])
			twice++;
		seen[i] = true;
		if (e->d_type != DT_LNK)
			wrong++;
		if (++n == N / 2)
			middle = telldir(dir);
		else if (n == N / 2 + 1)
			strcpy(at_middle, e->d_name);
	}
	is_int(n, N, "readdir: all 5,000 names");
	is_int(twice + wrong, 0, "readdir: each once, with its type");
	seekdir(dir, middle);
	e = readdir(dir);
	is_str(e == NULL ? "" : e->d_name, at_middle,
	    "seekdir: back to where telldir was");
	works(symlink("x", "many/new"), "readdir: a name made meanwhile");
	rewinddir(dir);
	n = 0;
	while ((e = readdir(dir)) != NULL)
		n += strcmp(e->d_name, "new") == 0;
	is_int(n, 1, "rewinddir: shows it");
	closedir(dir);
}

/* What a listing shows late must not bring names back. */
static void
test_listing_changes(void)
{
	char last[300] = "many/", moved[] = "many/moved";
	struct dirent *e;
	struct stat st;
	int n = 0;
	DIR *dir = opendir("many");

	while ((e = readdir(dir)) != NULL && n++ < 3) {
		snprintf(last + 5, sizeof last - 5, "%s", e->d_name);
		fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW);
	}
	strcpy(last, "many/n4999");
	works(rename(last, moved), "readdir: a name moves while it reads");
	put("many/n4998.", "x");
	n = 0;
	while ((e = readdir(dir)) != NULL) {
		fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW);
		n++;
	}
	ok(n > 4900, "readdir: goes on");
	fails(lstat(last, &st), ENOENT, "readdir: the old name stays away");
	works(lstat(moved, &st), "readdir: the new one is there");
	closedir(dir);
	dir = opendir("many");
	n = 0;
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == 'n' || e->d_name[0] == 'm')
			n += unlinkat(dirfd(dir), e->d_name, 0) == 0;
	}
	closedir(dir);
	ok(n >= 5000, "readdir: every name removed while reading");
	works(rmdir("many"), "readdir: leaves the directory empty");
}

int
main(int argc, char **argv)
{
	enter(argc, argv);
	test_mkdir();
	test_unborn_directory();
	test_link();
	test_symlink();
	test_rename();
	test_rename_directory();
	test_unborn_rename();
	test_refused();
	test_lengths();
	test_statvfs();
	test_listing();
	test_listing_changes();
	return done_testing();
}
