# The pages' tables come out of the .def files.
man_pages = man/gov.1 man/govfs.7 man/govfs-consistency.7 man/govfs.conf.5 \
	man/govfsd.8
man_defs = src/base/conf.def src/base/fault.def src/base/metric.def \
	src/command/command.def
nodist_man_MANS = $(man_pages)
EXTRA_DIST += man/tables.awk $(man_pages:%=%.in)
CLEANFILES += $(man_pages)

$(man_pages): man/tables.awk $(man_defs)
$(man_pages): %: %.in
	$(AM_V_GEN)$(MKDIR_P) man && cd $(srcdir) && \
	awk -f man/tables.awk $(man_defs) man/$(@F).in \
	    > '$(abs_builddir)/$@.new' && \
	mv '$(abs_builddir)/$@.new' '$(abs_builddir)/$@'
