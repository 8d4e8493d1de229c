/*
 * replay_child.c: the helper process, which re-enacts remote changes.
 *
 * Single-threaded, without the /dev/fuse descriptor: a thread of the daemon
 * that sleeps on an inode lock would hang the mount for ever when the daemon
 * crashes.  It works on a detached clone of our own mount, names directories
 * by node id (their paths may be moving), and owns nothing.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replay/protocol.h"

/* A file handle as fuse_encode_fh() makes it: fs/fuse/inode.c. */
struct fuse_handle {
	struct file_handle head;
	uint32_t node_hi, node_lo, generation;
};
#define FUSE_HANDLE_TYPE 0x81

static int root_fd;

static int enact(const struct helper_request *, uint32_t *step);
static int enact_content(int dir, const char *name, uint32_t *step);
static int open_dir(uint64_t ino);

int
replay_child(void)
{
	struct helper_request req;
	struct helper_answer answer = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "govfs-replay");
	umask(0);
	signal(SIGINT, SIG_IGN); /* the terminal's is for the daemon */
	signal(SIGTERM, SIG_IGN);
	close_range(HELPER_FD_MOUNT + 1, ~0U, 0);
	/* open_by_handle_at(2) wants a real descriptor, not O_PATH. */
	root_fd = openat(HELPER_FD_MOUNT, ".", O_RDONLY | O_DIRECTORY);
	if (root_fd < 0)
		return 1;
	close(HELPER_FD_MOUNT);
	if (send(HELPER_FD_SOCKET, &answer, sizeof answer, 0) < 0)
		return 1;
	while (recv(HELPER_FD_SOCKET, &req, sizeof req, 0) ==
	    (ssize_t)sizeof req) {
		answer.id = req.id;
		answer.step = 0;
		answer.err = enact(&req, &answer.step);
		if (send(HELPER_FD_SOCKET, &answer, sizeof answer,
			MSG_NOSIGNAL) < 0)
			break;
	}
	return 0;
}

static int
enact_one(const struct helper_request *r, int d, int d2, uint32_t *step)
{
	static const struct timespec
	    both[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}},
	    modified[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}},
	    accessed[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
	int fd;

	switch ((enum helper_op)r->op) {
	case HELPER_MKNOD:
		return mknodat(d, r->name, S_IFREG | (r->mode & 07777), 0);
	case HELPER_BORN:
		if (mknodat(d, r->name, S_IFREG | (r->mode & 07777), 0) != 0)
			return -1;
		*step = 1;
		return enact_content(d, r->name, step);
	case HELPER_BORN_EMPTY:
		if (mknodat(d, r->name, S_IFREG | (r->mode & 07777), 0) != 0)
			return -1;
		*step = 1;
		fd = openat(d, r->name,
		    O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		return 0;
	case HELPER_MKDIR:
		return mkdirat(d, r->name, r->mode & 07777);
	case HELPER_SYMLINK:
		return symlinkat("x", d, r->name);
	case HELPER_LINK:
		return linkat(d, r->name, d2, r->name2, 0);
	case HELPER_UNLINK:
		return unlinkat(d, r->name, 0);
	case HELPER_RMDIR:
		return unlinkat(d, r->name, AT_REMOVEDIR);
	case HELPER_RENAME:
		return renameat2(d, r->name, d2, r->name2, 0);
	case HELPER_EXCHANGE:
		return renameat2(d, r->name, d2, r->name2, RENAME_EXCHANGE);
	case HELPER_CONTENT:
		return enact_content(d, r->name, step);
	case HELPER_ATTRIB:
		return utimensat(d, r->name, both, AT_SYMLINK_NOFOLLOW);
	case HELPER_MTIME:
		return utimensat(d, r->name, modified, AT_SYMLINK_NOFOLLOW);
	case HELPER_ATIME:
		return utimensat(d, r->name, accessed, AT_SYMLINK_NOFOLLOW);
	case HELPER_TELL:
		return enact_content(d, r->path, step);
	case HELPER_TELL_DIR:
		return utimensat(d, r->path, modified, AT_SYMLINK_NOFOLLOW);
	}
	errno = EINVAL;
	return -1;
}

static int
enact(const struct helper_request *r, uint32_t *step)
{
	int d, d2 = -1, err = 0;

	if (r->op == HELPER_TELL || r->op == HELPER_TELL_DIR)
		return enact_one(r, root_fd, -1, step) != 0 ? -errno : 0;
	d = r->name[0] == '\0' ? root_fd : open_dir(r->dir);
	if (d < 0)
		return -errno;
	if (r->name2[0] != '\0') {
		d2 = open_dir(r->dir2);
		if (d2 < 0)
			err = -errno;
	}
	/* An unnamed node is the root itself: only its attributes change. */
	if (err == 0 && r->name[0] == '\0') {
		if (futimens(root_fd, NULL) != 0)
			err = -errno;
	} else if (err == 0 && enact_one(r, d, d2, step) != 0) {
		err = -errno;
	}
	if (d2 >= 0)
		close(d2);
	if (d != root_fd)
		close(d);
	return err;
}

/*
 * IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE.  O_NONBLOCK: a file lease must not hold
 * us up for its break time; what can't be opened (a lease, ETXTBSY) is touched.
 */
static int
enact_content(int d, const char *name, uint32_t *step)
{
	static const struct timespec
	    modified[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	int fd, err;

	fd = openat(d, name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == EAGAIN || errno == ETXTBSY))
		return utimensat(d, name, modified, AT_SYMLINK_NOFOLLOW);
	if (fd < 0)
		return -1;
	*step += 1;
	err = futimens(fd, modified);
	close(fd);
	return err;
}

static int
open_dir(uint64_t ino)
{
	struct fuse_handle h = {
	    .head = {.handle_bytes = 12, .handle_type = FUSE_HANDLE_TYPE},
	    .node_hi = (uint32_t)(ino >> 32),
	    .node_lo = (uint32_t)ino,
	};

	return open_by_handle_at(root_fd, &h.head,
	    O_PATH | O_DIRECTORY | O_CLOEXEC);
}
