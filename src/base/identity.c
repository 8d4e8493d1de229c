/*
 * identity.c: two lines on a disk.
 */
#include "config.h"

#include "base/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"

enum { TEXT_BYTES = 128 }; /* more than any identity */

static size_t print(const struct identity *, char ret[TEXT_BYTES]);
static int parse(char *text, struct identity *ret);
static int choose(struct identity *);
static int write_new(int dir_fd, const struct identity *);
static bool all_zero(const uint8_t *, size_t);

int
identity_load(const char *state_dir, struct identity *ret)
{
	char text[TEXT_BYTES], again[TEXT_BYTES];
	struct identity id = {0};
	int dir_fd, fd, err;
	ssize_t n;

	dir_fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	fd = openat(dir_fd, "identity", O_RDONLY | O_CLOEXEC);
	err = fd < 0 ? -errno : 0;
	(void)close(dir_fd);
	if (err != 0)
		return err;
	n = read(fd, text, sizeof(text) - 1);
	err = n < 0 ? -errno : 0;
	(void)close(fd);
	if (err != 0)
		return err;
	text[n] = '\0';
	/* Only what we would have written is taken. */
	if (parse(text, &id) != 0 || print(&id, again) != (size_t)n ||
	    memcmp(again, text, (size_t)n) != 0 || id.member == 0)
		return -EUCLEAN;
	*ret = id;
	return 0;
}

int
identity_create(const char *state_dir, struct identity *io)
{
	struct identity id = *io;
	int dir_fd, err;

	/* Others may reach the control socket in it, no more. */
	if (mkdir(state_dir, 0711) != 0 && errno != EEXIST)
		return -errno;
	dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	err = choose(&id);
	if (err == 0)
		err = write_new(dir_fd, &id);
	/* The old name only now: identity is whole, or it is not there. */
	if (err == 0 &&
	    linkat(dir_fd, "identity.new", dir_fd, "identity", 0) != 0)
		err = -errno;
	(void)unlinkat(dir_fd, "identity.new", 0);
	if (err == 0 && fsync(dir_fd) != 0)
		err = -errno;
	(void)close(dir_fd);
	if (err == 0)
		*io = id;
	return err;
}

static int
choose(struct identity *id)
{
	uint8_t *cluster = all_zero(id->cluster, sizeof(id->cluster))
	    ? id->cluster
	    : NULL;

	if (cluster != NULL &&
	    getrandom(cluster, sizeof(id->cluster), 0) !=
		(ssize_t)sizeof(id->cluster))
		return -EIO;
	while (id->member == 0) {
		if (getrandom(&id->member, sizeof(id->member), 0) !=
		    (ssize_t)sizeof(id->member))
			return -EIO;
	}
	return 0;
}

static int
write_new(int dir_fd, const struct identity *id)
{
	char text[TEXT_BYTES];
	size_t len = print(id, text);
	int fd, err = 0;
	ssize_t n;

	(void)unlinkat(dir_fd, "identity.new", 0);
	fd = openat(dir_fd, "identity.new",
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n != (ssize_t)len)
		err = n < 0 ? -errno : -ENOSPC;
	if (err == 0 && fsync(fd) != 0)
		err = -errno;
	(void)close(fd);
	return err;
}

static size_t
print(const struct identity *id, char ret[TEXT_BYTES])
{
	char cluster[2 * sizeof(id->cluster) + 1];

	hex_print(id->cluster, sizeof(id->cluster), cluster);
	return (size_t)snprintf(ret, TEXT_BYTES,
	    "cluster = %s\nmember = %016" PRIx64 "\n", cluster, id->member);
}

static int
parse(char *text, struct identity *ret)
{
	char cluster[33], member[17];

	if (sscanf(text, "cluster = %32s member = %16s", cluster, member) != 2)
		return -EINVAL;
	if (hex_parse(cluster, ret->cluster, sizeof(ret->cluster)) != 0)
		return -EINVAL;
	return hex_parse_u64(member, &ret->member);
}

static bool
all_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return true;
}
