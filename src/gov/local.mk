gov_SOURCES = \
	src/gov/client.c \
	src/gov/cmd_cat.c \
	src/gov/cmd_debug.c \
	src/gov/cmd_init.c \
	src/gov/cmd_lock.c \
	src/gov/cmd_put.c \
	src/gov/cmd_status.c \
	src/gov/cmd_sync.c \
	src/gov/cmd_ttl.c \
	src/gov/cmd_watch.c \
	src/gov/cmd_why.c \
	src/gov/file.c \
	src/gov/find.c \
	src/gov/gov.c \
	src/gov/gov.h
gov_LDADD = $(COMMON_LIBS) $(SMARTCOLS_LIBS) $(INOTIFYTOOLS_LIBS)
