#!/usr/bin/env bash
# install.t: what `make install` brings.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"

[ -f "$GOV_BUILD/Makefile" ] || skip_all 'there is no build'
[ -x "$GOVFSD" ] || skip_all "there is no $GOVFSD"
make_tmp
ok 'make install' make -s -C "$GOV_BUILD" install DESTDIR="$tmp/root" \
    prefix=/usr > "$tmp/out" 2>&1
for f in sbin/govfsd bin/gov lib/systemd/system/govfs.service \
    share/bash-completion/completions/gov share/man/man8/govfsd.8 \
    share/man/man1/gov.1 share/man/man5/govfs.conf.5 share/man/man7/govfs.7 \
    share/man/man7/govfs-consistency.7; do
	ok "it brings $f" test -s "$tmp/root/usr/$f"
done
unit=$tmp/root/usr/lib/systemd/system/govfs.service
if command -v systemd-analyze > /dev/null; then
	sed "s|^ExecStart=.*|ExecStart=$GOVFSD|" "$unit" > "$tmp/govfs.service"
	MANPATH=$tmp/root/usr/share/man \
	    systemd-analyze verify "$tmp/govfs.service" > "$tmp/out" 2>&1
	is "$(grep govfs.service "$tmp/out" | grep -v 'man .* failed')" '' \
	    'systemd finds nothing wrong with the unit'
else
	skip 'there is no systemd-analyze'
fi
# shellcheck disable=SC1091,SC2034
complete_words() { # LINE...: what bash would offer for the last word
	PATH=$tmp/root/usr/bin:$PATH bash -c '
		. "$1"; shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_gov; echo "${COMPREPLY[*]}"' - \
	    "$tmp/root/usr/share/bash-completion/completions/gov" "$@"
}
is "$(complete_words gov st)" status 'commands are completed'
is "$(complete_words gov put --if)" --if-rev 'options too'
ok 'make uninstall' make -s -C "$GOV_BUILD" uninstall DESTDIR="$tmp/root" \
    prefix=/usr > "$tmp/out" 2>&1
is "$(find "$tmp/root" -type f)" '' 'leaves nothing'
done_testing
