libgovfs_a_SOURCES += src/group/compat.h src/group/guard.h \
	src/group/guard_internal.h src/group/guard_op.h
libgovfs_a_SOURCES += src/group/guard.c
libgovfs_a_SOURCES += src/group/guard_member.c
libgovfs_a_SOURCES += src/group/guard_recv.c
libgovfs_a_SOURCES += src/group/guard_send.c
libgovfs_a_SOURCES += src/group/guard_terms.c
libgovfs_a_SOURCES += src/group/group.h src/group/internal.h \
	src/group/compat_core.h
libgovfs_a_SOURCES += src/group/forward.c
libgovfs_a_SOURCES += src/group/fsm.c
libgovfs_a_SOURCES += src/group/group.c
libgovfs_a_SOURCES += src/group/io.c
libgovfs_a_SOURCES += src/group/io_peer.c
libgovfs_a_SOURCES += src/group/lease.c src/group/lease.h
libgovfs_a_SOURCES += src/group/lease_table.c
libgovfs_a_SOURCES += src/group/member.c
libgovfs_a_SOURCES += src/group/readindex.c
libgovfs_a_SOURCES += src/group/renew.c
libgovfs_a_SOURCES += src/group/wal.c src/group/wal.h
libgovfs_a_SOURCES += src/group/wal_file.c src/group/wal_internal.h
libgovfs_a_SOURCES += src/group/wal_format.c src/group/wal_format.h
libgovfs_a_SOURCES += src/group/wal_recover.c
libgovfs_a_SOURCES += src/group/wal_terms.c
libgovfs_a_SOURCES += src/group/wal_writer.c
