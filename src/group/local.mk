libgovfs_a_SOURCES += src/group/compat.h src/group/guard.h \
	src/group/guard_internal.h src/group/guard_op.h
libgovfs_a_SOURCES += src/group/guard.c
libgovfs_a_SOURCES += src/group/guard_member.c
libgovfs_a_SOURCES += src/group/guard_recv.c
libgovfs_a_SOURCES += src/group/guard_send.c
libgovfs_a_SOURCES += src/group/guard_terms.c
