libgovfs_a_SOURCES += \
	src/command/command.c src/command/command.def src/command/command.h \
	src/command/entry.c \
	src/command/outcome.c src/command/outcome.h
