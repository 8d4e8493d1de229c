/*
 * ioctl.h: what an open file of /gov can be asked or told besides POSIX.
 */
#ifndef BASE_IOCTL_H
#define BASE_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* Commit this handle's draft only while the file's version is that revision, or,
 * with 0, while there is no such file; else close(2) and fsync(2) say ESTALE. */
#define GOVFS_IOC_EXPECT _IOW('g', 1, uint64_t)
/* The revision to expect where nothing of the handle must be committed. */
#define GOVFS_EXPECT_NEVER UINT64_MAX
/* The version this handle shows: what it pinned, or committed last. */
#define GOVFS_IOC_VERSION _IOR('g', 2, uint64_t)

/* Commit this handle's drafts only while that is the newest token of the lock
 * that guards the file (gov.guard; without one: of the file's own lock). */
#define GOVFS_IOC_TOKEN _IOW('g', 4, uint64_t)
/* ns for which the locks taken through this handle surely last; EIO: lost. */
#define GOVFS_IOC_LEASE _IOR('g', 3, uint64_t)

#endif
