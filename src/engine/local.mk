libgovfs_a_SOURCES += \
	src/engine/engine.c src/engine/engine.h src/engine/engine_internal.h \
	src/engine/engine_local.c src/engine/engine_local.h
libgovfs_a_SOURCES += src/engine/engine_group.c src/engine/engine_group.h
