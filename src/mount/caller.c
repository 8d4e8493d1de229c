/*
 * caller.c: what /proc tells about the process behind a request.
 *
 * Only files whose reading never touches the caller's memory or our own mount:
 * status, stat and fdinfo, and the text of links in fd (never their targets).
 * A caller in another pid namespace has pid 0: nothing is known about it.
 */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kcmp.h>

#include "mount/mount_internal.h"

#define PF_EXITING 0x00000004 /* include/linux/sched.h */

static bool
slurp(int dirfd, const char *path, char *buf, size_t size)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

static bool
slurp_proc(pid_t pid, const char *file, char *buf, size_t size)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	return pid > 0 && slurp(AT_FDCWD, path, buf, size);
}

void
caller_credentials(fuse_req_t req, struct credentials *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	gid_t groups[LIMIT_GROUPS];
	int n;

	ret->uid = ctx->uid;
	ret->gid = ctx->gid;
	ret->n_groups = 0;
	if (ctx->uid == 0)
		return; /* asked for nothing that groups would grant */
	n = fuse_req_getgroups(req, LIMIT_GROUPS, groups);
	for (int i = 0; i < n && i < LIMIT_GROUPS; i++)
		ret->groups[ret->n_groups++] = groups[i];
}

void
caller_stamp(const struct credentials *cred, struct stamp *ret)
{
	ret->uid = cred->uid;
	ret->gid = cred->gid;
	ret->privileged = cred->uid == 0;
	ret->n_groups = cred->n_groups;
	memcpy(ret->groups, cred->groups, sizeof ret->groups);
}

/* Mostly a process has one thread: /proc is for those that have more. */
pid_t
caller_process(pid_t tid)
{
	char status[512], *at;

	if (tid > 0 && tgkill(tid, tid, 0) == 0)
		return tid;
	if (!slurp_proc(tid, "status", status, sizeof status))
		return tid;
	at = strstr(status, "\nTgid:");
	return at == NULL ? tid : (pid_t)strtol(at + 6, NULL, 10);
}

bool
caller_killed(pid_t tid)
{
	char status[4096], *at;
	uint64_t kill_bit = UINT64_C(1) << (SIGKILL - 1);

	if (!slurp_proc(tid, "status", status, sizeof status))
		return tid > 0; /* gone already */
	for (const char *key = "\nSigPnd:";; key = "\nShdPnd:") {
		at = strstr(status, key);
		if (at != NULL && (strtoull(at + 8, NULL, 16) & kill_bit) != 0)
			return true;
		if (key[1] == 'S' && key[2] == 'h')
			return false;
	}
}

bool
caller_dying(pid_t tid)
{
	char stat[1024], *at;
	unsigned long flags = 0;
	long code = 0;

	if (!slurp_proc(tid, "stat", stat, sizeof stat))
		return false;
	at = strrchr(stat, ')'); /* comm may hold anything */
	if (at == NULL)
		return false;
	/* proc(5): flags is field 9, exit_code field 52; state is field 3. */
	at += 2;
	for (int field = 3; *at != '\0' && field <= 52; field++) {
		if (field == 9)
			flags = strtoul(at, NULL, 10);
		if (field == 52)
			code = strtol(at, NULL, 10);
		while (*at != '\0' && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return (flags & PF_EXITING) != 0 && (code & 0x7f) != 0;
}

bool
caller_alive(pid_t pid)
{
	return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* The device of a mount, as mountinfo has it: "0:57". */
static bool
device_of(pid_t pid, int mount_id, char ret[16])
{
	char path[64], *line = NULL, device[16];
	size_t cap = 0;
	bool found = false;
	FILE *f;
	int id;

	snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	while (!found && getline(&line, &cap, f) > 0)
		found = sscanf(line, "%d %*d %15s", &id, device) == 2 &&
		    id == mount_id;
	free(line);
	fclose(f);
	if (found)
		memcpy(ret, device, sizeof device);
	return found;
}

/* Is their mount one of another file system?  A bind mount of ours is not. */
static bool
is_elsewhere(pid_t pid, int theirs, int ours)
{
	char a[16], b[16];

	return theirs != ours && device_of(pid, theirs, a) &&
	    device_of(getpid(), ours, b) && strcmp(a, b) != 0;
}

/* Does /proc/PID/fdinfo/N describe a writable descriptor of the node? */
static bool
describes(pid_t pid, const char *number, const struct wanted *wanted)
{
	char path[NAME_MAX + 8], text[512], *at;
	unsigned long flags;
	int theirs;

	snprintf(path, sizeof path, "fdinfo/%s", number);
	if (!slurp_proc(pid, path, text, sizeof text))
		return false;
	at = strstr(text, "ino:");
	if (at == NULL || strtoull(at + 4, NULL, 10) != wanted->ino)
		return false;
	at = strstr(text, "flags:");
	if (at == NULL)
		return false;
	flags = strtoul(at + 6, NULL, 8);
	if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0)
		return false;
	at = strstr(text, "mnt_id:");
	theirs = at == NULL ? wanted->mount_id : (int)strtol(at + 7, NULL, 10);
	return !is_elsewhere(pid, theirs, wanted->mount_id);
}

/*
 * The text of a link in fd is the path the file was opened by; comparing its
 * last component spares us an fdinfo for every other file.
 */
static bool
may_be(int fd, const char *number, const char *name)
{
	char path[LIMIT_PATH], *last;
	ssize_t n;

	if (name == NULL)
		return true;
	n = readlinkat(fd, number, path, sizeof path - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	last = strrchr(path, '/');
	if (last == NULL)
		return false; /* a pipe, a socket */
	return strncmp(last + 1, name, strlen(name)) == 0;
}

void
caller_descriptors(pid_t pid, const struct wanted *wanted,
    struct descriptors *ret)
{
	char path[64], entries[2048] __attribute__((aligned(8)));
	int fd, seen = 0;
	ssize_t len, at;

	*ret = (struct descriptors){.n = -1};
	if (pid <= 0)
		return;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		ret->none = errno == ENOENT;
		ret->n = ret->none ? 0 : -1;
		return;
	}
	ret->n = 0;
	while (ret->n >= 0 &&
	    (len = getdents64(fd, entries, sizeof entries)) > 0) {
		for (at = 0; at < len && ret->n >= 0;) {
			struct dirent64 *e = (void *)(entries + at);

			at += e->d_reclen;
			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			if (++seen > LIMIT_FDINFO) {
				ret->n = -1;
			} else if (may_be(fd, e->d_name, wanted->name) &&
			    describes(pid, e->d_name, wanted)) {
				if (ret->n < DESCRIPTORS_LISTED)
					ret->fds[ret->n] = atoi(e->d_name);
				ret->n++;
			}
		}
	}
	close(fd);
	ret->none = seen == 0;
}

/*
 * Their directory's size says so, since Linux 6.2 (fs/proc/fd.c).  Who writes
 * one file will write another: its directory stays open, which spares the walk
 * to it, and belongs to this very thread, whoever gets its number later.
 */
pid_t
caller_count(struct mount *m, pid_t tid, unsigned *ret_n)
{
	struct caller *c = &m->callers[(unsigned)tid % CALLERS];
	char path[64];
	struct stat st;

	*ret_n = 0;
	if (tid <= 0)
		return tid;
	if (c->tid == tid && fstat(c->fd, &st) == 0) {
		*ret_n = (unsigned)st.st_size;
		return c->process;
	}
	if (c->tid != 0)
		close(c->fd);
	snprintf(path, sizeof path, "/proc/%d/fd", (int)tid);
	c->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	c->tid = c->fd < 0 ? 0 : tid;
	c->process = caller_process(tid);
	if (c->tid != 0 && fstat(c->fd, &st) == 0)
		*ret_n = (unsigned)st.st_size;
	return c->process;
}

void
caller_free_all(struct mount *m)
{
	for (int i = 0; i < CALLERS; i++)
		if (m->callers[i].tid != 0)
			close(m->callers[i].fd);
}

bool
caller_shares(pid_t pid, int fd, pid_t other, int other_fd)
{
	return syscall(SYS_kcmp, pid, other, KCMP_FILE, (unsigned long)fd,
	    (unsigned long)other_fd) == 0;
}
