libgovfs_a_SOURCES += \
	src/mount/account.c \
	src/mount/caller.c \
	src/mount/commit.c \
	src/mount/dotgov.c src/mount/dotgov.h \
	src/mount/dotgov_locks.c \
	src/mount/dotgov_news.c \
	src/mount/dotgov_text.c \
	src/mount/fusemount.c \
	src/mount/handle.c \
	src/mount/life.c \
	src/mount/mount.c src/mount/mount.h \
	src/mount/mount_internal.h \
	src/mount/op_dir.c \
	src/mount/op_io.c \
	src/mount/lock_pid.c src/mount/op_lock.c \
	src/mount/op_name.c \
	src/mount/op_node.c \
	src/mount/op_open.c \
	src/mount/op_xattr.c \
	src/mount/own.c \
	src/mount/park.c \
	src/mount/process.c \
	src/mount/reply.c \
	src/mount/submit.c \
	src/mount/tid.c \
	src/mount/version.c
