libgovfs_a_SOURCES += \
	src/machine/attr.c \
	src/machine/dir.c \
	src/machine/fence.c \
	src/machine/file.c \
	src/machine/host.c \
	src/machine/life.c src/machine/life.h \
	src/machine/cycle.c \
	src/machine/lock.c src/machine/lock.h \
	src/machine/lockset.c \
	src/machine/machine.c src/machine/machine.h \
	src/machine/rename.c \
	src/machine/session.c \
	src/machine/step.c src/machine/step.h
