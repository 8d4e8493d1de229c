libgovfs_a_SOURCES += \
	src/net/channel.c src/net/channel.h \
	src/net/conn.c \
	src/net/net.c src/net/net.h src/net/net_internal.h
