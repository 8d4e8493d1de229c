libgovfs_a_SOURCES += \
	src/tree/attrs.c \
	src/tree/check.c \
	src/tree/check_locks.c \
	src/tree/content.c \
	src/tree/lives.c \
	src/tree/locks.c \
	src/tree/meta.c \
	src/tree/names.c \
	src/tree/nodes.c \
	src/tree/schema.c src/tree/schema.h \
	src/tree/sessions.c \
	src/tree/tree.h
