libgovfs_a_SOURCES += \
	src/base/buf.c src/base/buf.h \
	src/base/clock.c src/base/clock.h \
	src/base/conf.c src/base/conf.def src/base/conf.h \
	src/base/fault.c src/base/fault.def src/base/fault.h \
	src/base/hex.c src/base/hex.h \
	src/base/identity.c src/base/identity.h \
	src/base/ioctl.h \
	src/base/limits.h \
	src/base/log.c src/base/log.h \
	src/base/metric.c src/base/metric.def src/base/metric.h \
	src/base/reader.c src/base/reader.h \
	src/base/reason.c src/base/reason.h \
	src/base/slice.h
