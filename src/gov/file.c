/*
 * file.c: the xattrs by which files and directories of /gov speak.
 */
#include "config.h"

#include <sys/xattr.h>

#include <errno.h>

#include "gov/gov.h"

static int
xattr_number(const char *path, const char *name, uint64_t *ret)
{
	char text[32];
	ssize_t n;

	n = getxattr(path, name, text, sizeof(text) - 1);
	if (n == -1)
		return -errno;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	return gov_parse_rev(text, ret) ? 0 : -EPROTO;
}

int
gov_file_rev(const char *path, uint64_t *ret)
{
	return xattr_number(path, "gov.rev", ret);
}

int
gov_barrier(const char *path, uint64_t *ret_rev)
{
	return xattr_number(path, "gov.sync", ret_rev);
}

int
gov_fail_barrier(const char *path, int err)
{
	if (err != -EIO)
		return gov_fail_errno(path, err);
	return gov_fail("%s: this host can't reach a majority, or its kernel is "
	    "behind; gov status says which", path);
}
