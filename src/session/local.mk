libgovfs_a_SOURCES += src/session/session.c src/session/session.h
