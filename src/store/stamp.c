/*
 * stamp.c: one line of text beside the store.
 */
#include "config.h"

#include "store/stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.8; where it is unknown the kernel answers the id that it reuses. */
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

enum { TEXT_BYTES = 128 };

/* A store of another layout is built anew: raise it with any change of what
 * keys and values look like or mean. */
#define FORMAT "format 4 "

static const char clean_text[] = FORMAT "clean\n";

static int describe(int dir_fd, char ret[TEXT_BYTES]);
static int write_text(int dir_fd, const char *text);
static int read_text(int dir_fd, const char *path, char ret[TEXT_BYTES]);

bool
stamp_trusted(int dir_fd)
{
	char text[TEXT_BYTES], now[TEXT_BYTES];

	if (read_text(dir_fd, "stamp", text) != 0)
		return false;
	if (strcmp(text, clean_text) == 0)
		return true;
	return describe(dir_fd, now) == 0 && strcmp(text, now) == 0;
}

int
stamp_running(int dir_fd)
{
	char text[TEXT_BYTES];
	int err;

	err = describe(dir_fd, text);
	if (err != 0)
		return err;
	return write_text(dir_fd, text);
}

int
stamp_clean(int dir_fd)
{
	return write_text(dir_fd, clean_text);
}

void
stamp_clear(int dir_fd)
{
	(void)unlinkat(dir_fd, "stamp", 0);
	(void)fsync(dir_fd);
}

static int
describe(int dir_fd, char ret[TEXT_BYTES])
{
	char boot[TEXT_BYTES];
	struct statx st;
	int err;

	err = read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot);
	if (err != 0)
		return err;
	if (statx(dir_fd, "", AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE | STATX_MNT_ID,
		&st) != 0)
		return -errno;
	boot[strcspn(boot, "\n")] = '\0';
	(void)snprintf(ret, TEXT_BYTES, FORMAT
	    "boot %.40s mount %llu device %u:%u\n",
	    boot, (unsigned long long)st.stx_mnt_id, st.stx_dev_major,
	    st.stx_dev_minor);
	return 0;
}

/*
 * In place, always of one length, which needs no room on a full disk.  What a
 * crash leaves halfway is neither text: not trusted.
 */
static int
write_text(int dir_fd, const char *text)
{
	char all[TEXT_BYTES] = {0};
	int fd, err = 0;

	memcpy(all, text, strlen(text));
	fd = openat(dir_fd, "stamp", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	errno = ENOSPC; /* of a short write */
	if (pwrite(fd, all, sizeof(all), 0) != (ssize_t)sizeof(all) ||
	    fsync(fd) != 0 || fsync(dir_fd) != 0)
		err = -errno;
	(void)close(fd);
	return err;
}

static int
read_text(int dir_fd, const char *path, char ret[TEXT_BYTES])
{
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, TEXT_BYTES - 1);
	err = n < 0 ? -errno : 0;
	(void)close(fd);
	if (err == 0)
		ret[n] = '\0';
	return err;
}
