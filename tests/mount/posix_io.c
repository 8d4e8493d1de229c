/*
 * posix_io.c: open, read, write, size, mapping.
 */
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "posix.h"

static void
test_open(void)
{
	int fd, fd2;

	fails(open("absent", O_RDONLY), ENOENT, "open: an absent name");
	works(fd = open("f", O_RDWR | O_CREAT | O_EXCL, 0640),
	    "open: O_CREAT|O_EXCL makes a file");
	is_int(stat_of("f").st_mode, S_IFREG | 0640, "open: its mode");
	is_int(stat_of("f").st_size, 0, "open: it is empty");
	close(fd);
	fails(open("f", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST,
	    "F6: O_EXCL refuses a name that is there");
	works(fd = open("f", O_RDONLY | O_CREAT, 0), "open: O_CREAT of a file "
	    "that exists opens it");
	fails(write(fd, "x", 1), EBADF, "open: no writing through O_RDONLY");
	close(fd);
	fd = open("f", O_WRONLY);
	fails(read(fd, &fd2, 1), EBADF, "open: no reading through O_WRONLY");
	close(fd);
	works(fd = open("ro", O_RDONLY | O_CREAT, 0600),
	    "open: O_RDONLY|O_CREAT makes a file");
	close(fd);
	is_int(access("ro", F_OK), 0, "F2: and its name stays");
	mkdir("d", 0755);
	fails(open("d", O_WRONLY), EISDIR, "open: a directory for writing");
	fails(open("d", O_RDONLY | O_CREAT, 0644), EISDIR,
	    "open: O_CREAT of a directory");
	fails(open("f/x", O_RDONLY), ENOTDIR, "open: below a file");
	fails(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR,
	    "open: O_DIRECTORY of a file");
	if (symlink("f", "l") != 0)
		diag("symlink: %s", strerror(errno));
	fails(open("l", O_RDONLY | O_NOFOLLOW), ELOOP, "open: O_NOFOLLOW");
	fails(open("l", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST,
	    "open: O_EXCL follows no link");
	if (!native()) {
		fails(open(".", O_TMPFILE | O_RDWR, 0600), EOPNOTSUPP,
		    "open: O_TMPFILE is refused");
		fails(open("x/../.gov", O_RDONLY), ENOENT, "open: .gov is "
		    "in the root only");
	}
}

static void
test_read_write(void)
{
	char buf[64] = "";
	struct stat st;
	int fd = open("rw", O_RDWR | O_CREAT | O_TRUNC, 0644);

	is_int(write(fd, "hello world", 11), 11, "write: all bytes");
	is_int(lseek(fd, 0, SEEK_CUR), 11, "write: moves the offset");
	is_int(pread(fd, buf, sizeof buf, 6), 5, "F2: the draft's own reads");
	is_mem(buf, "world", 5, "F2: see what was written");
	is_int(pwrite(fd, "J", 1, 0), 1, "pwrite: inside");
	is_int(lseek(fd, 0, SEEK_CUR), 11, "pwrite: leaves the offset");
	lseek(fd, 0, SEEK_SET);
	is_int(read(fd, buf, 5), 5, "read: from the offset");
	is_mem(buf, "Jello", 5, "read: the bytes");
	is_int(pwrite(fd, "end", 3, 5000), 3, "pwrite: behind the end");
	fstat(fd, &st);
	is_int(st.st_size, 5003, "fstat: the writer sees its size");
	is_int(lseek(fd, 0, SEEK_END), 5003, "lseek: SEEK_END of a draft");
	is_int(pread(fd, buf, 4, 3000), 4, "read: in a hole");
	is_mem(buf, "\0\0\0\0", 4, "read: a hole is zeros");
	is_int(pread(fd, buf, 4, 6000), 0, "read: nothing behind the end");
	works(close(fd), "close: commits");
	is_int(stat_of("rw").st_size, 5003, "stat: the committed size");
	fd = open("rw", O_RDONLY);
	is_int(lseek(fd, -3, SEEK_END), 5000, "lseek: SEEK_END of a file");
	is_int(read(fd, buf, 9), 3, "read: up to the end");
	is_mem(buf, "end", 3, "read: the last bytes");
	is_int(lseek(fd, 0, SEEK_HOLE), 5003, "lseek: SEEK_HOLE");
	fails(lseek(fd, -1, SEEK_SET), EINVAL, "lseek: before the begin");
	close(fd);
}

static void
test_append(void)
{
	char buf[64] = "";
	int fd, fd2;

	put("a", "one\n");
	fd = open("a", O_RDWR | O_APPEND);
	is_int(write(fd, "two\n", 4), 4, "append: writes at the end");
	is_int(pread(fd, buf, sizeof buf, 0), 8, "append: reads all of it");
	is_mem(buf, "one\ntwo\n", 8, "append: the old and the new");
	fd2 = open("a", O_WRONLY | O_APPEND);
	is_int(write(fd2, "three\n", 6), 6, "append: a second handle");
	close(fd2);
	close(fd);
	is_str(get("a"), native() ? "one\ntwo\nthree\n" : "one\nthree\ntwo\n",
	    "F3: nothing is lost of either");
	fd = open("a", O_RDWR | O_APPEND);
	is_int(write(fd, "4567", 4), 4, "append: and then");
	works(ftruncate(fd, 16), "append: ftruncate into what was appended");
	close(fd);
	is_int(stat_of("a").st_size, 16, "append: leaves what it should");
	is_str(get("a") + 14, "45", "append: of the right bytes");
	fd = open("a", O_WRONLY | O_APPEND | O_TRUNC);
	is_int(write(fd, "new", 3), 3, "append: with O_TRUNC");
	close(fd);
	is_str(get("a"), "new", "append: O_TRUNC empties first");
	fd = open("a", O_RDWR | O_APPEND);
	is_int(write(fd, "er", 2), 2, "append: before fsync");
	works(fsync(fd), "F2: fsync commits");
	is_str(get("a"), "newer", "F2: what it committed is seen");
	is_int(write(fd, "!", 1), 1, "append: after fsync");
	is_int(pread(fd, buf, sizeof buf, 0), 6, "append: reads what fsync "
	    "committed and what came after");
	close(fd);
	is_str(get("a"), "newer!", "append: after fsync is added once");
}

static void
test_truncate(void)
{
	char buf[16] = "xxxx";
	int fd;

	put("t", "0123456789");
	works(truncate("t", 4), "truncate: shorter");
	is_str(get("t"), "0123", "truncate: keeps the begin");
	works(truncate("t", 8), "truncate: longer");
	is_int(stat_of("t").st_size, 8, "truncate: the new size");
	fd = open("t", O_RDWR);
	is_int(pread(fd, buf, 8, 0), 8, "truncate: readable");
	is_mem(buf, "0123\0\0\0\0", 8, "truncate: grown by zeros");
	works(ftruncate(fd, 2), "ftruncate: shorter");
	is_int(lseek(fd, 0, SEEK_END), 2, "ftruncate: its handle sees it");
	close(fd);
	is_str(get("t"), "01", "ftruncate: committed at close");
	fd = open("t", O_RDONLY);
	fails(ftruncate(fd, 0), EINVAL, "ftruncate: not by a reader");
	close(fd);
	fd = open("t", O_RDONLY | O_TRUNC);
	close(fd);
	is_int(stat_of("t").st_size, 0, "open: O_TRUNC without writing");
	fails(truncate("absent", 0), ENOENT, "truncate: an absent name");
	fails(truncate("d", 0), EISDIR, "truncate: a directory");
	put("t", "text");
	fd = open("t", O_WRONLY | O_TRUNC);
	close(fd);
	is_int(stat_of("t").st_size, 0, "F2: O_TRUNC counts as data");
	put("t", "abcdef");
	fd = open("t", O_WRONLY);
	is_int(pwrite(fd, "XY", 2, 2), 2, "pwrite: into an old file");
	close(fd);
	is_str(get("t"), "abXYef", "pwrite: leaves the rest");
	fd = open("t", O_WRONLY);
	is_int(pwrite(fd, "XYZ", 3, 3), 3, "pwrite: and then");
	works(truncate("t", 4), "truncate: of one's own draft, by path");
	close(fd);
	is_str(get("t"), "abXX", "truncate: is seen by its draft");
}

static void
test_limits(void)
{
	char *big = calloc(1, (1 << 20) + 1);
	int fd;

	if (native())
		return;
	memset(big, 'b', (1 << 20) + 1);
	fd = open("big", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	is_int(write(fd, big, 1 << 20), 1 << 20, "F8: a file of 1 MiB");
	fails(write(fd, "x", 1), EFBIG, "F8: EFBIG at the write that passes");
	fails(pwrite(fd, "x", 1, 5 << 20), EFBIG, "F8: also behind a hole");
	fails(ftruncate(fd, (1 << 20) + 1), EFBIG, "F8: by ftruncate");
	works(close(fd), "F8: what fits is committed");
	is_int(stat_of("big").st_size, 1 << 20, "F8: with its size");
	fails(truncate("big", 2 << 20), EFBIG, "F8: by truncate");
	fd = open("big", O_WRONLY | O_APPEND);
	fails(write(fd, "x", 1), EFBIG, "F8: by appending");
	close(fd);
	fd = open("big", O_WRONLY);
	fails(fallocate(fd, 0, 0, 2 << 20), EFBIG, "F8: by fallocate");
	close(fd);
	truncate("big", 0);
	free(big);
}

static void
test_fallocate(void)
{
	int fd = open("fa", O_RDWR | O_CREAT | O_TRUNC, 0644);

	works(posix_fallocate(fd, 0, 100) == 0 ? 0 : -1, "fallocate: grows");
	works(fallocate(fd, 0, 0, 50), "fallocate: inside, nothing happens");
	if (!native())
		fails(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 500), EOPNOTSUPP,
		    "fallocate: other modes are refused");
	close(fd);
	is_int(stat_of("fa").st_size, 100, "fallocate: committed");
	fd = open("fa", O_RDONLY);
	fails(fallocate(fd, 0, 0, 200), EBADF, "fallocate: not by a reader");
	close(fd);
}

static void
test_unlinked(void)
{
	char buf[16] = "";
	struct stat st;
	int fd, rd;

	put("u", "text");
	rd = open("u", O_RDONLY);
	fd = open("u", O_RDWR);
	works(unlink("u"), "unlink: of an open file");
	fails(access("u", F_OK), ENOENT, "unlink: the name is gone");
	is_int(read(rd, buf, 16), 4, "unlink: a reader reads on");
	is_int(pread(fd, buf, 16, 0), 4, "unlink: a writer too");
	is_int(pwrite(fd, "TEXT+", 5, 0), 5, "unlink: and writes");
	is_int(pread(fd, buf, 16, 0), 5, "unlink: and reads that");
	is_mem(buf, "TEXT+", 5, "unlink: the new bytes");
	works(fsync(fd), "unlink: fsync has nothing to do");
	is_int(pread(fd, buf, 16, 0), 5, "unlink: the bytes stay");
	is_int(fstat(fd, &st), 0, "unlink: fstat goes on");
	is_int(st.st_nlink, 0, "unlink: says no links");
	is_int(st.st_size, 5, "unlink: and the size");
	works(fchmod(fd, 0600), "unlink: fchmod goes on");
	fstat(fd, &st);
	is_int(st.st_mode & 07777, 0600, "unlink: and is seen");
	works(ftruncate(fd, 1), "unlink: ftruncate goes on");
	works(close(fd), "unlink: close without an error");
	close(rd);
	fails(access("u", F_OK), ENOENT, "unlink: nothing came back");
	fd = open("u2", O_RDWR | O_CREAT, 0644);
	is_int(write(fd, "temp", 4), 4, "unlink: a new file");
	works(unlink("u2"), "F2: one that was never committed");
	is_int(pread(fd, buf, 16, 0), 4, "F2: its handle goes on");
	works(fchmod(fd, 0600), "F2: with fchmod too");
	works(fsync(fd), "F2: and fsync");
	works(close(fd), "F2: and close");
	fails(access("u2", F_OK), ENOENT, "F2: it was never there");
}

static void
test_mmap(void)
{
	int fd;
	char *p;

	put("m", "mapped");
	fd = open("m", O_RDWR);
	p = mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ok(p != MAP_FAILED, "mmap: MAP_PRIVATE");
	if (p != MAP_FAILED) {
		is_mem(p, "mapped", 6, "mmap: shows the content");
		p[0] = 'M';
		munmap(p, 6);
	}
	is_str(get("m"), "mapped", "mmap: private changes stay private");
	if (!native()) {
		p = mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ok(p == MAP_FAILED && errno == ENODEV,
		    "mmap: MAP_SHARED for writing is ENODEV");
	}
	close(fd);
	put("m", "MAPPED+");
	fd = open("m", O_RDONLY);
	p = mmap(NULL, 7, PROT_READ, MAP_PRIVATE, fd, 0);
	ok(p != MAP_FAILED && memcmp(p, "MAPPED+", 7) == 0,
	    "mmap: a new version is shown by a new mapping");
	close(fd);
}

static void
test_copying(void)
{
	off_t from = 0, to = 0;
	int in, out;

	put("c1", "copy me");
	in = open("c1", O_RDONLY);
	out = open("c2", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	is_int(sendfile(out, in, &from, 4), 4, "sendfile: between files");
	close(out);
	is_str(get("c2"), "copy", "sendfile: the bytes");
	out = open("c3", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	from = 0;
	is_int(copy_file_range(in, &from, out, &to, 7, 0), 7,
	    "copy_file_range: between files");
	close(out);
	close(in);
	is_str(get("c3"), "copy me", "copy_file_range: the bytes");
}

/* One read handle is one version. */
static void
test_versions(void)
{
	char buf[16] = "";
	int fd;

	if (native())
		return;
	put("v", "version one");
	fd = open("v", O_RDONLY);
	is_int(read(fd, buf, 8), 8, "F1: a reader in the middle");
	put("v", "VERSION TWO");
	is_int(read(fd, buf, 16), 3, "F1: reads its version to the end");
	is_mem(buf, "one", 3, "F1: whatever was committed meanwhile");
	is_int(read(fd, buf, 16), 0, "F1: and then is at its end");
	close(fd);
	fd = open("v", O_RDONLY);
	is_int(read(fd, buf, 16), 11, "F1: a new handle reads");
	is_mem(buf, "VERSION TWO", 11, "F1: the new version");
	put("v", "VERSION TWO and more");
	is_int(read(fd, buf, 16), 9, "F1: at its end it reads on if the file "
	    "has only grown");
	is_mem(buf, " and more", 9, "F1: the added bytes");
	close(fd);
}

int
main(int argc, char **argv)
{
	enter(argc, argv);
	test_open();
	test_read_write();
	test_append();
	test_truncate();
	test_limits();
	test_fallocate();
	test_unlinked();
	test_mmap();
	test_copying();
	test_versions();
	return done_testing();
}
