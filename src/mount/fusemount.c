/*
 * fusemount.c: mounting by file descriptor.
 *
 * The mount is made detached (fsmount(2)) and a clone of it is attached where
 * users see it.  The replay helper works on the detached one: it needs no path,
 * doesn't keep an administrator from unmounting /gov, and is not over-mounted.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "mount/mount_internal.h"

/* glibc 2.36 has the wrappers; the flag for an empty path is linux/mount.h's. */
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif

static int
configure(int fs, int fuse_fd)
{
	char number[16];

	snprintf(number, sizeof number, "%d", fuse_fd);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "govfs", 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "subtype", "govfs", 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "fd", number, 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) != 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) !=
		0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return -errno;
	return 0;
}

int
fusemount_attach(const char *mountpoint, int fuse_fd, int *ret_private_fd)
{
	int fs, private_fd, visible, err;

	fs = fsopen("fuse", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	err = configure(fs, fuse_fd);
	if (err != 0)
		goto out_fs;
	private_fd = fsmount(fs, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (private_fd < 0) {
		err = -errno;
		goto out_fs;
	}
	visible = open_tree(private_fd, "",
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (visible < 0 ||
	    move_mount(visible, "", AT_FDCWD, mountpoint,
		MOVE_MOUNT_F_EMPTY_PATH) != 0) {
		err = -errno;
		close(private_fd);
	} else {
		*ret_private_fd = private_fd;
	}
	if (visible >= 0)
		close(visible);
out_fs:
	close(fs);
	return err;
}

int
fusemount_detach(const char *mountpoint)
{
	return umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 ? -errno
								      : 0;
}

/* mountinfo(5) writes space, tab, newline and backslash as \ooo. */
static void
unescape(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++) {
		if (s[0] == '\\' && s[1] != '\0' && s[2] != '\0' &&
		    s[3] != '\0') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 +
			    (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/*
 * Read from mountinfo: statx(2) on the path would ask the daemon itself.  The
 * last line counts, mounts stack.
 */
int
fusemount_id(const char *mountpoint)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, path[LIMIT_PATH], *type;
	size_t cap = 0;
	int id, found = -1;

	if (f == NULL)
		return -1;
	while (getline(&line, &cap, f) > 0) {
		if (sscanf(line, "%d %*d %*s %*s %4095s", &id, path) != 2)
			continue;
		unescape(path);
		if (strcmp(path, mountpoint) != 0)
			continue;
		type = strstr(line, " - ");
		found = type != NULL &&
			strncmp(type + 3, "fuse.govfs ", 11) == 0
		    ? id
		    : -1;
	}
	free(line);
	fclose(f);
	return found;
}

bool
fusemount_exists(int id)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = f == NULL; /* can't tell */

	while (!found && getline(&line, &cap, f) > 0)
		found = atoi(line) == id;
	free(line);
	if (f != NULL)
		fclose(f);
	return found;
}

int
mount_clear_dead(const char *mountpoint)
{
	struct stat st;
	int err;

	while (fusemount_id(mountpoint) >= 0) {
		/* A living daemon's mount answers; a dead one's says so. */
		if (stat(mountpoint, &st) == 0)
			return -EBUSY;
		if (errno != ENOTCONN && errno != ECONNABORTED)
			return -errno;
		log_info("mount: %s: clearing what a dead daemon left",
		    mountpoint);
		err = fusemount_detach(mountpoint);
		if (err != 0)
			return err;
	}
	return 0;
}
