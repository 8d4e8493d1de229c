EXTRA_DIST += examples/build examples/cluster examples/deps examples/gov.bash \
	examples/govfs.service.in examples/quickstart
# For users: each opens with what to type and what to see.
EXTRA_DIST += examples/cron-once examples/elect-primary examples/hosts-with \
	examples/mailbox \
	examples/register-by-descriptor examples/registry-conformance.sh \
	examples/worker-id

systemdsystemunit_DATA = examples/govfs.service
CLEANFILES += examples/govfs.service

examples/govfs.service: examples/govfs.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) examples && sed -e 's|@sbindir[@]|$(sbindir)|' \
	    -e 's|@UNIT_TYPE[@]|$(UNIT_TYPE)|' \
	    '$(srcdir)/examples/govfs.service.in' > $@

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/bash-completion/completions'
	$(INSTALL_DATA) '$(srcdir)/examples/gov.bash' \
	    '$(DESTDIR)$(datadir)/bash-completion/completions/gov'

uninstall-local:
	rm -f '$(DESTDIR)$(datadir)/bash-completion/completions/gov'
