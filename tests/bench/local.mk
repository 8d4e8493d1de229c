# make bench: govfs, etcd and the disk side by side on this machine; nothing is
# asserted.  QUICK=1 takes a minute at most.  `examples/deps bench` installs
# what it compares with.
EXTRA_PROGRAMS = tests/bench/govbench
tests_bench_govbench_SOURCES = tests/bench/govbench.c
EXTRA_DIST += tests/bench/run tests/bench/rows tests/bench/table.awk \
	tests/bench/stages.awk tests/bench/etcdbench.go
CLEANFILES += tests/bench/govbench tests/bench/etcdbench

bench: govfsd gov tests/bench/govbench
	GOV_SRC='$(abs_top_srcdir)' GOV_BUILD='$(abs_top_builddir)' \
	QUICK='$(QUICK)' '$(abs_top_srcdir)/tests/bench/run'
.PHONY: bench
