libgovfs_a_SOURCES += src/session/session.c src/session/session.h \
	src/session/session_internal.h
libgovfs_a_SOURCES += src/session/keep.c
