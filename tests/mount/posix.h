/*
 * posix.h: what the programs of posix.t share.
 *
 * Each is given a directory that it may fill.  With GOV_NATIVE set it is one
 * of another file system, and what only govfs promises is left out: so the
 * tests themselves are tested.
 */
#ifndef TESTS_MOUNT_POSIX_H
#define TESTS_MOUNT_POSIX_H

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"

/* The call answers anything but -1. */
#define works(call, ...) \
	({ \
		errno = 0; \
		bool good_ = ok((long)(call) != -1, __VA_ARGS__); \
		if (!good_) \
			diag("%s: %s", #call, strerror(errno)); \
		good_; \
	})

/* The call fails with that errno. */
#define fails(call, want, ...) \
	({ \
		errno = 0; \
		long got_ = (long)(call); \
		int errno_ = errno; \
		bool good_ = ok(got_ == -1 && errno_ == (want), __VA_ARGS__); \
		if (!good_) \
			diag("%s: answered %ld, %s", #call, got_, \
			    strerror(errno_)); \
		good_; \
	})

/* A call's errno, 0 for success, made by another user. */
#define as(uid, gid, call) \
	({ \
		pid_t pid_ = fork(); \
		int status_ = 0; \
		if (pid_ == 0) { \
			if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || \
			    setuid(uid) != 0) \
				_exit(255); \
			errno = 0; \
			_exit((long)(call) == -1 ? errno : 0); \
		} \
		waitpid(pid_, &status_, 0); \
		WIFEXITED(status_) ? WEXITSTATUS(status_) : -1; \
	})

__attribute__((unused)) static bool
native(void)
{
	return getenv("GOV_NATIVE") != NULL;
}

/* A file with that content; 0, or -1. */
__attribute__((unused)) static int
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	size_t len = strlen(text);

	if (fd < 0)
		return -1;
	if (write(fd, text, len) != (ssize_t)len) {
		close(fd);
		return -1;
	}
	return close(fd);
}

/* A file's content, up to 64 KiB; valid until the next call. */
__attribute__((unused)) static const char *
get(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return strerror(errno);
	n = read(fd, text, sizeof text - 1);
	text[n < 0 ? 0 : n] = '\0';
	close(fd);
	return text;
}

__attribute__((unused)) static struct stat
stat_of(const char *path)
{
	struct stat st;

	memset(&st, 0, sizeof st);
	if (lstat(path, &st) != 0)
		diag("lstat %s: %s", path, strerror(errno));
	return st;
}

__attribute__((unused)) static long long
ns_of(struct timespec ts)
{
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

__attribute__((unused)) static void
enter(int argc, char **argv)
{
	umask(022);
	if (argc != 2)
		bail_out("usage: %s DIRECTORY\n", argv[0]);
	if (chdir(argv[1]) != 0)
		bail_out("%s: %s\n", argv[1], strerror(errno));
}

#endif
