libgovfs_a_SOURCES += \
	src/store/digest.c src/store/digest.h \
	src/store/stamp.c src/store/stamp.h \
	src/store/store.c src/store/store.h src/store/store_internal.h \
	src/store/store_lmdb.c \
	src/store/store_mem.c \
	src/store/touched.c src/store/touched.h
