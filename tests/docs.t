#!/usr/bin/env bash
# docs.t: what the programs have is in the manual, and the manual is sound.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"

man=$GOV_BUILD/man
pages='gov.1 govfs.7 govfs-consistency.7 govfs.conf.5 govfsd.8'
make_tmp
cd "$GOV_SRC" || exit

# A page's text without markup, one blank between words.
text_of() { mandoc -Tascii "$man/$1" | sed 's/.\x08//g' | tr -s ' \n' ' '; }

# has PAGE WORD...: all are in it; names what is not.
# shellcheck disable=SC2317
has() {
	local page=$1 word missing=''
	shift
	for word; do
		grep -qF -- "$word" <<< "${words[$page]}" || missing="$missing $word"
	done
	[ -z "$missing" ] || { diag "not in $page:$missing"; return 1; }
}

# The names of a .def file: its N-th field.
defs() { sed -nE "s/^$1\(([^,]*), ?([^,]*)(,.*)?/\\$3/p" "src/$2"; }

need mandoc
declare -A words
for p in $pages; do
	ok "$p is built" test -s "$man/$p"
	words[$p]=$(text_of "$p")
	mandoc -Tlint "$man/$p" 2>&1 |
	    grep -v 'outdated mandoc.db\|referenced manual not found' > "$tmp/lint"
	is "$(cat "$tmp/lint")" '' "$p is clean for mandoc -Tlint"
done
while read -r ref section; do
	ok "$ref($section), referred to, is there" test -s "$man/$ref.$section"
done < <(sed -n 's/^\.Xr \(gov[a-z.-]* [0-9]\).*/\1/p' man/*.in | sort -u)

# shellcheck disable=SC2046
{
	ok 'every metric is in govfsd(8)' \
	    has govfsd.8 $(defs METRIC base/metric.def 1 | sed 's/^/govfs_/')
	ok 'every fault point is in govfsd(8)' \
	    has govfsd.8 $(defs FAULT base/fault.def 1)
	ok 'every key is in govfs.conf(5)' \
	    has govfs.conf.5 $(defs CONF base/conf.def 2)
	ok 'every command of the log is in govfs(7)' \
	    has govfs.7 $(defs COMMAND command/command.def 2)
}
is "$(defs METRIC base/metric.def 1 | wc -l)" \
    "$(grep -c '^METRIC(' src/base/metric.def)" 'no metric is overlooked here'

# The daemon's own table of options.
# shellcheck disable=SC2046
ok 'every option of govfsd is in govfsd(8)' has govfsd.8 \
    $(sed -nE 's/^[[:space:]]*\{"([a-z-]+)", (no|required)_argument.*/--\1/p' \
	src/govfsd.c)
if [ -x "$GOV" ]; then
	for c in $("$GOV" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
		# shellcheck disable=SC2046
		ok "gov $c and its options are in gov(1)" has gov.1 "$c" \
		    $("$GOV" "$c" --help | sed -nE 's/^  .{4}(--[a-z-]+).*/\1/p')
		exits 0 "gov $c has --help" "$GOV" "$c" --help >/dev/null
		nok "which fits into 80 columns" \
		    grep -E '.{81}' <<< "$("$GOV" "$c" --help)"
		like "$("$GOV" "$c" --help)" '*--json*' "gov $c has --json"
	done
	nok 'gov --help, too' grep -E '.{81}' <<< "$("$GOV" --help)"
	exits 2 'a wrong command line exits 2' "$GOV" cat 2>/dev/null
	exits 2 'an unknown command exits 2' "$GOV" frobnicate 2>/dev/null
else
	skip "there is no $GOV"
fi

for id in F1 F2 F3 F4 F5 F6 F7 F8 O1 O2 O3 O4 O5 O6 O7 O8 W1 W2 W3 T1 T2 T3 \
    T4 T5 T6 T7 T8; do
	ok "govfs-consistency(7) has the promise $id" \
	    has govfs-consistency.7 " $id "
done
ok 'the README names the two commands' \
    grep -q 'examples/quickstart' README
ok 'the README names tests/run' grep -q 'tests/run' README
for e in cron-once elect-primary hosts-with mailbox register-by-descriptor \
    registry-conformance.sh worker-id; do
	ok "govfs(7) names examples/$e" has govfs.7 "$e"
done

if command -v shellcheck >/dev/null; then
	ok 'the scripts are clean for shellcheck' shellcheck -x \
	    examples/build examples/cluster examples/deps examples/quickstart \
	    examples/gov.bash examples/cron-once examples/elect-primary \
	    examples/hosts-with examples/mailbox \
	    examples/register-by-descriptor \
	    examples/registry-conformance.sh examples/worker-id tests/run .ci/run tests/lib.sh tests/docs.t
else
	skip 'there is no shellcheck'
fi
done_testing
