libgovfs_a_SOURCES += \
	src/replay/kview.c src/replay/kview.h \
	src/replay/protocol.h \
	src/replay/reconcile.c \
	src/replay/replay.c src/replay/replay.h \
	src/replay/replay_child.c \
	src/replay/replay_helper.c \
	src/replay/replay_internal.h
