libgovfs_a_SOURCES += \
	src/ctl/answer.c \
	src/ctl/ctl.c \
	src/ctl/ctl.h \
	src/ctl/ctl_internal.h
