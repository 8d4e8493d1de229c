/*
 * cmd_put.c: write a file from standard input, as one commit.
 */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/ioctl.h"
#include "base/limits.h"
#include "gov/gov.h"

/* What the commit is conditional on. */
struct condition {
	bool if_rev;
	uint64_t rev;	/* 0: the file is absent */
	uint64_t token; /* 0: none */
};

static int	put_run(const struct gov_args *);
static int	read_all(struct buf *);
static int	make_parents(const char *);
static int	put_file(const char *, const struct condition *, struct slice,
		    uint64_t *);
static int	put_failed(const struct gov_args *, const char *, int);

enum { OPT_IF_REV, OPT_TOKEN, OPT_PARENTS, OPT_PRINT_REV };

const struct cmd cmd_put = {
	.name = "put",
	.args = "PATH < DATA",
	.help = "write a file in one commit, if nobody else has meanwhile",
	.min_args = 1,
	.max_args = 1,
	.options = {
		[OPT_IF_REV] = { 0, "if-rev", "N",
		    "only if the file is still at revision N; 0: if absent" },
		[OPT_TOKEN] = { 0, "token", "N",
		    "only while N is the newest token of the guarding lock" },
		[OPT_PARENTS] = { 'p', "parents", NULL,
		    "make the directories above it" },
		[OPT_PRINT_REV] = { 0, "print-rev", NULL,
		    "print the revision that this made" },
	},
	.run = put_run,
};

static int
put_run(const struct gov_args *args)
{
	const char *path = args->argv[0];
	const char *if_rev = args->value[OPT_IF_REV];
	const char *token = args->value[OPT_TOKEN];
	struct condition only = { .if_rev = if_rev != NULL };
	uint64_t rev;
	struct gov_place place;
	struct buf data;
	int err;

	if (if_rev != NULL && !gov_parse_rev(if_rev, &only.rev))
		return gov_usage("--if-rev %s: not a revision", if_rev);
	if (token != NULL &&
	    (!gov_parse_rev(token, &only.token) || only.token == 0))
		return gov_usage("--token %s: not a token", token);
	/* All of it before the file is touched: a broken pipe writes nothing. */
	buf_init(&data, LIMIT_FILE_MAX);
	err = read_all(&data);
	if (err != 0) {
		buf_fini(&data);
		return gov_fail_errno("standard input", err);
	}
	if (!gov_find(args, path, &place)) {
		buf_fini(&data);
		return EXIT_FAILED;
	}
	gov_place_fini(&place);
	if (args->value[OPT_PARENTS] != NULL)
		err = make_parents(path);
	if (err == 0)
		err = put_file(path, &only, buf_slice(&data), &rev);
	buf_fini(&data);
	if (err != 0)
		return put_failed(args, path, err);
	if (args->json)
		gov_print_json(json_pack("{s:o, s:I}", "path",
		    gov_json_path(path), "rev", (json_int_t)rev));
	else if (args->value[OPT_PRINT_REV] != NULL)
		printf("%" PRIu64 "\n", rev);
	return EXIT_OK;
}

static int
read_all(struct buf *data)
{
	char block[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, block, sizeof(block))) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -errno;
		buf_raw(data, block, n);
		if (buf_error(data) != 0)
			return buf_error(data) == -EMSGSIZE ? -EFBIG :
			    buf_error(data);
	}
	return 0;
}

static int
make_parents(const char *path)
{
	char *copy = strdup(path);
	int err = 0;

	if (copy == NULL)
		return -ENOMEM;
	for (char *p = copy + 1; *p != '\0' && err == 0; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0777) == -1 && errno != EEXIST)
			err = -errno;
		*p = '/';
	}
	free(copy);
	return err;
}

static int
write_all(int fd, struct slice data)
{
	const char *p = data.ptr;
	ssize_t n;

	for (size_t left = data.len; left > 0; left -= n, p += n) {
		n = write(fd, p, left);
		if (n == -1 && errno == EINTR)
			n = 0;
		if (n == -1)
			return -errno;
	}
	return 0;
}

/*
 * The file is emptied by ftruncate(2), a part of the draft, and made without
 * O_EXCL, so that nothing has happened before the draft knows what it is
 * conditional on.
 */
static int
open_file(const char *path, bool if_rev, uint64_t expect)
{
	int flags = O_WRONLY | O_CLOEXEC;
	struct stat st;
	int fd;

	if (if_rev && expect == 0 && lstat(path, &st) == 0)
		return -EEXIST;
	if (!if_rev || expect == 0)
		flags |= O_CREAT;
	fd = open(path, flags, 0666);
	if (fd != -1)
		return fd;
	/* With a revision expected, no file is somebody's removal. */
	return if_rev && errno == ENOENT && expect != 0 ? -ESTALE : -errno;
}

static int
put_file(const char *path, const struct condition *only, struct slice data,
    uint64_t *ret_rev)
{
	uint64_t never = GOVFS_EXPECT_NEVER, shown = 0;
	int fd, err = 0;

	fd = open_file(path, only->if_rev, only->rev);
	if (fd < 0)
		return fd;
	if (only->if_rev && ioctl(fd, GOVFS_IOC_EXPECT, &only->rev) == -1)
		err = -errno;
	/* This host's kernel didn't know of it, but the host does. */
	if (only->if_rev && only->rev == 0 &&
	    ioctl(fd, GOVFS_IOC_VERSION, &shown) == 0 && shown != 0)
		err = -EEXIST;
	if (err == 0 && only->token != 0 &&
	    ioctl(fd, GOVFS_IOC_TOKEN, &only->token) == -1)
		err = -errno;
	if (err == 0 && ftruncate(fd, 0) == -1)
		err = -errno;
	if (err == 0)
		err = write_all(fd, data);
	if (err == 0 && fsync(fd) == -1)
		err = -errno;
	/* Neither half a file nor an empty one must be committed by close. */
	if (err != 0)
		ioctl(fd, GOVFS_IOC_EXPECT, &never);
	if (err == 0 && ioctl(fd, GOVFS_IOC_VERSION, ret_rev) == -1)
		err = -errno;
	if (close(fd) == -1 && err == 0)
		err = -errno;
	return err;
}

/* A conflict is an answer, not only a failure: it says what is there now. */
static int
put_failed(const struct gov_args *args, const char *path, int err)
{
	uint64_t now = 0;
	int found;

	if (err == -ESTALE && args->value[OPT_IF_REV] == NULL &&
	    args->value[OPT_TOKEN] != NULL) {
		fprintf(stderr, "gov: %s: conflict: the lock has been granted "
		    "anew since that token\n", path);
		return EXIT_CONFLICT;
	}
	if (args->value[OPT_IF_REV] == NULL || (err != -ESTALE && err != -EEXIST))
		return gov_fail_why(args, path, err);
	found = gov_file_rev(path, &now);
	if (args->json)
		gov_print_json(json_pack("{s:o, s:s, s:I}", "path",
		    gov_json_path(path), "error", "conflict", "rev",
		    (json_int_t)now));
	else if (now == 0)
		printf("conflict: %s is %s\n", path,
		    found == -ENOENT ? "absent" : "there");
	else
		printf("conflict: %s is at revision %" PRIu64 "\n", path, now);
	return EXIT_CONFLICT;
}
