# Programs are check_PROGRAMS, scripts check_SCRIPTS; all speak TAP.  A script
# finds the sources by $srcdir and the programs by $builddir.
check_SCRIPTS = tests/cluster.t tests/docs.t tests/gov.t tests/install.t \
	tests/pace.t tests/sources.t
EXTRA_DIST += $(check_SCRIPTS)

check-programs: $(check_PROGRAMS)
.PHONY: check-programs

check-local: check-programs
	GOV_SRC='$(abs_top_srcdir)' GOV_BUILD='$(abs_top_builddir)' \
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' \
	CC='$(CC)' FUSE_CFLAGS='$(FUSE_CFLAGS)' \
	prove $(PROVEFLAGS) $(filter %.t,$(check_PROGRAMS)) \
	    $(check_SCRIPTS:%=$(abs_top_srcdir)/%)

EXTRA_DIST += tests/tap.h tests/pace.h
check_PROGRAMS += tests/pace
tests_pace_SOURCES = tests/pace.c

check_PROGRAMS += tests/unit/base.t
tests_unit_base_t_SOURCES = tests/unit/base.c
tests_unit_base_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/store.t
tests_unit_store_t_SOURCES = tests/unit/store.c
tests_unit_store_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/net.t
tests_unit_net_t_SOURCES = tests/unit/net.c
tests_unit_net_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/wal.t
tests_unit_wal_t_SOURCES = tests/unit/wal.c
tests_unit_wal_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/conf.t
tests_unit_conf_t_SOURCES = tests/unit/conf.c
tests_unit_conf_t_LDADD = $(COMMON_LIBS)

EXTRA_DIST += tests/lib.sh tests/mounts.py tests/run tests/one \
	tests/stalls.py .ci/run

check_PROGRAMS += tests/sim/directed.t
tests_sim_directed_t_SOURCES = tests/sim/directed.c tests/sim/cluster.c \
	tests/sim/cluster.h tests/sim/disk.c tests/sim/disk.h
tests_sim_directed_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_sim_directed_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)

check_PROGRAMS += tests/sim/sim.t
EXTRA_DIST += tests/sim/seeds
tests_sim_sim_t_SOURCES = tests/sim/sim.c tests/sim/sim_client.c \
	tests/sim/sim_fsm.c tests/sim/sim.h tests/sim/cluster.c \
	tests/sim/cluster.h tests/sim/disk.c tests/sim/disk.h
tests_sim_sim_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_sim_sim_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)

check_PROGRAMS += tests/sim/replay.t
tests_sim_replay_t_SOURCES = tests/sim/replay.c tests/sim/replay_kernel.c \
	tests/sim/replay_calls.c tests/sim/replay_kernel.h \
	tests/sim/replay_mount.c tests/sim/replay_queue.c \
	tests/sim/replay_sim.h tests/random.h
tests_sim_replay_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_sim_replay_t_LDADD = $(COMMON_LIBS)

# Long, for the night: other seeds than check's.  SEED=n starts elsewhere.
.PHONY: soak
soak: tests/sim/sim.t tests/sim/replay.t tests/mount/cross.t tests/mount/freshness.t \
    tests/mount/crash.t tests/unit/hostile.t tests/pace
	tests/sim/sim.t $${SEED:-1000} 1000
	tests/sim/replay.t $${SEED:-1000} 20000
	for rate in 200 1000 3000 6000; do for commit in 0 1; do \
		tests/mount/cross.t 20 $$rate $$commit $${SEED:-1000} || \
		    exit 1; done; done
	tests/mount/cross.t 20 1000 1 $${SEED:-1000} helper
	tests/mount/freshness.t 10 $${SEED:-1000}
	tests/mount/crash.t 200 $${SEED:-1000}
	tests/unit/hostile.t $${SEED:-1000} 100000
	$(SOAK) NAME_ROUNDS=10000 $(abs_top_srcdir)/tests/scenario/names.t
	$(SOAK) LOCK_KILLS=100 $(abs_top_srcdir)/tests/scenario/locks.t kills
	$(SOAK) TTL_MS=5000 $(abs_top_srcdir)/tests/scenario/cut.t all of them
	$(SOAK) CRASH_ROUNDS=40 $(abs_top_srcdir)/tests/scenario/crash.t
SOAK = GOV_SRC='$(abs_top_srcdir)' GOV_BUILD='$(abs_top_builddir)'
check_PROGRAMS += tests/unit/engine.t
tests_unit_engine_t_SOURCES = tests/unit/engine.c
tests_unit_engine_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/tid.t
tests_unit_tid_t_SOURCES = tests/unit/tid.c
tests_unit_tid_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/ctl.t
tests_unit_ctl_t_SOURCES = tests/unit/ctl.c
tests_unit_ctl_t_LDADD = $(COMMON_LIBS)
check_PROGRAMS += tests/unit/command.t
tests_unit_command_t_SOURCES = tests/unit/command.c tests/random.h
tests_unit_command_t_LDADD = $(COMMON_LIBS)

# configure --enable-fuzzing CC=clang
if FUZZING
noinst_PROGRAMS = tests/fuzz/command
tests_fuzz_command_SOURCES = tests/fuzz/command.c
tests_fuzz_command_LDADD = $(COMMON_LIBS)
tests_fuzz_command_LDFLAGS = -fsanitize=fuzzer
noinst_PROGRAMS += tests/fuzz/machine
tests_fuzz_machine_SOURCES = tests/fuzz/machine.c
tests_fuzz_machine_LDADD = $(COMMON_LIBS)
tests_fuzz_machine_LDFLAGS = -fsanitize=fuzzer
noinst_PROGRAMS += tests/fuzz/net
tests_fuzz_net_SOURCES = tests/fuzz/net.c
tests_fuzz_net_LDADD = $(COMMON_LIBS)
tests_fuzz_net_LDFLAGS = -fsanitize=fuzzer
noinst_PROGRAMS += tests/fuzz/wal
tests_fuzz_wal_SOURCES = tests/fuzz/wal.c
tests_fuzz_wal_LDADD = $(COMMON_LIBS)
tests_fuzz_wal_LDFLAGS = -fsanitize=fuzzer
endif

check_PROGRAMS += tests/unit/model.t
tests_unit_model_t_SOURCES = tests/unit/model.c tests/random.h \
	tests/model/mirror.c tests/model/mirror.h \
	tests/model/posix.c tests/model/posix.h
tests_unit_model_t_LDADD = $(COMMON_LIBS)
check_PROGRAMS += tests/unit/group.t
GROUP_HOST = tests/unit/group_host.c tests/unit/group_host.h \
	tests/unit/host_child.c tests/unit/host_child.h
tests_unit_group_t_SOURCES = tests/unit/group.c $(GROUP_HOST)
tests_unit_group_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)
check_PROGRAMS += tests/unit/forward.t
tests_unit_forward_t_SOURCES = tests/unit/forward.c $(GROUP_HOST)
tests_unit_forward_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)
check_PROGRAMS += tests/unit/hostile.t
tests_unit_hostile_t_SOURCES = tests/unit/hostile.c tests/random.h \
	$(GROUP_HOST)
tests_unit_hostile_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)
include tests/bench/local.mk

check_PROGRAMS += tests/unit/tree.t
tests_unit_tree_t_SOURCES = tests/unit/tree.c
tests_unit_tree_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/full.t
tests_unit_full_t_SOURCES = tests/unit/full.c
tests_unit_full_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/machine.t
tests_unit_machine_t_SOURCES = tests/unit/machine.c
tests_unit_machine_t_LDADD = $(COMMON_LIBS)
# The calls that posix.t makes on a mount, each with a directory of its own.
check_PROGRAMS += tests/mount/posix_io tests/mount/posix_name \
	tests/mount/posix_attr
tests_mount_posix_io_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_posix_io_SOURCES = tests/mount/posix_io.c tests/mount/posix.h
tests_mount_posix_name_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_posix_name_SOURCES = tests/mount/posix_name.c tests/mount/posix.h
tests_mount_posix_attr_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_posix_attr_SOURCES = tests/mount/posix_attr.c tests/mount/posix.h

check_PROGRAMS += tests/unit/lease.t
tests_unit_lease_t_SOURCES = tests/unit/lease.c tests/unit/lease_host.c \
	tests/unit/lease_host.h $(GROUP_HOST)
tests_unit_lease_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)

check_PROGRAMS += tests/unit/group_chaos.t
tests_unit_group_chaos_t_SOURCES = tests/unit/group_chaos.c $(GROUP_HOST)
tests_unit_group_chaos_t_LDADD = $(COMMON_LIBS) $(RAFT_LIBS)
check_SCRIPTS += tests/mount/commit.t tests/mount/birth.t tests/mount/reach.t \
	tests/mount/shares.t \
	tests/mount/users.t

check_SCRIPTS += tests/scenario/stories.t tests/scenario/crash.t \
	tests/scenario/disk.t tests/scenario/signals.t tests/scenario/locks.t
EXTRA_DIST += tests/scenario/actors.py tests/scenario/locks.py
check_SCRIPTS += tests/scenario/names.t tests/scenario/cut.t \
	tests/scenario/wall.t tests/scenario/fence.t tests/scenario/editors.t
EXTRA_DIST += tests/scenario/names.py tests/scenario/cut.py \
	tests/scenario/wall.py tests/scenario/fence.py \
	tests/scenario/editors.py
check_SCRIPTS += tests/scenario/leases.t
EXTRA_DIST += tests/scenario/leases.py
check_SCRIPTS += tests/scenario/dotgov.t
EXTRA_DIST += tests/scenario/dotgov.py
check_PROGRAMS += tests/scenario/interrupted
tests_scenario_interrupted_SOURCES = tests/scenario/interrupted.c

check_PROGRAMS += tests/unit/locks.t
tests_unit_locks_t_SOURCES = tests/unit/locks.c
tests_unit_locks_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/nodes.t
tests_unit_nodes_t_SOURCES = tests/unit/nodes.c
tests_unit_nodes_t_LDADD = $(COMMON_LIBS)
check_PROGRAMS += tests/unit/lives.t
tests_unit_lives_t_SOURCES = tests/unit/lives.c
tests_unit_lives_t_LDADD = $(COMMON_LIBS)
EXTRA_DIST += tests/mount/player.h
check_PROGRAMS += tests/mount/cross.t
tests_mount_cross_t_SOURCES = tests/mount/cross.c tests/mount/player.c
tests_mount_cross_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_cross_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)
check_PROGRAMS += tests/mount/freshness.t
tests_mount_freshness_t_SOURCES = tests/mount/freshness.c tests/mount/player.c
tests_mount_freshness_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_freshness_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)
check_PROGRAMS += tests/mount/crash.t
tests_mount_crash_t_SOURCES = tests/mount/crash.c tests/mount/player.c
tests_mount_crash_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_crash_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)
check_PROGRAMS += tests/mount/late.t
tests_mount_late_t_SOURCES = tests/mount/late.c tests/mount/player.c
tests_mount_late_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_late_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)

check_PROGRAMS += tests/mount/backlog.t
tests_mount_backlog_t_SOURCES = tests/mount/backlog.c tests/mount/player.c
tests_mount_backlog_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_backlog_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)
check_PROGRAMS += tests/mount/events.t
tests_mount_events_t_SOURCES = tests/mount/events.c tests/mount/player.c
tests_mount_events_t_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_mount_events_t_LDADD = $(COMMON_LIBS) $(FUSE_LIBS)
check_SCRIPTS += tests/mount/posix.t tests/mount/hosts.t tests/mount/outcome.t \
	tests/mount/unknown.t tests/mount/lagging.t tests/mount/random.t
check_SCRIPTS += tests/mount/fresh.t tests/mount/hostevents.t
check_SCRIPTS += tests/mount/fresh.t tests/mount/requests.t \
	tests/mount/attributes.t

check_PROGRAMS += tests/unit/lockmodel.t
tests_unit_lockmodel_t_SOURCES = tests/unit/lockmodel.c tests/random.h
tests_unit_lockmodel_t_LDADD = $(COMMON_LIBS)

check_PROGRAMS += tests/unit/lifemodel.t
tests_unit_lifemodel_t_SOURCES = tests/unit/lifemodel.c tests/random.h \
	tests/model/mirror.c tests/model/mirror.h
tests_unit_lifemodel_t_LDADD = $(COMMON_LIBS)
check_SCRIPTS += tests/scenario/lifetimes.t
EXTRA_DIST += tests/scenario/lifetimes.py
check_SCRIPTS += tests/scenario/examples.t tests/scenario/registry.t
