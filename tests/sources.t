#!/bin/sh
# sources.t: what the sources promise about themselves (src/LAYERS, STYLE).
# Tried on other sources with SOURCES=DIR.
set -u
top=${srcdir:-$(dirname "$0")/..}
cd "${SOURCES:-$top/src}" || exit 99
: "${CC:=cc}"
: "${FUSE_CFLAGS=$(pkg-config --cflags fuse3 2>/dev/null)}"

main()
{
	test_layers
	test_libraries
	test_purity
	test_text
	test_makefile
	test_headers
}

# tap NAME: one test; passes if standard input is empty, else shows it.
tap()
{
	found=$(cat)
	if [ -z "$found" ]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		echo "$found" | sed 's/^/# /'
	fi
}

# includes DIR...: "file:<what" or "file:"what" of each include below.
includes()
{
	grep -rnE '^[[:space:]]*#[[:space:]]*include' "$@" \
	    --include='*.[ch]' --include='*.def' |
	    sed -E 's/^([^:]*):[0-9]+:[^"<]*(["<][^">]*)[">].*/\1:\2/'
}

test_layers()
{
	for dir in */; do
		dir=${dir%/}
		grep -q "^$dir:" LAYERS || echo "$dir is not in src/LAYERS"
	done | tap "every room has its layer"

	rooms=$(sed -n 's/^\([a-z]*\):.*/\1/p' LAYERS)
	for room in $rooms; do
		[ ! -d "$room" ] || includes "$room" | check_layer "$room"
	done | tap "rooms include only what src/LAYERS allows"
}

check_layer()
{
	allowed=" $1 $(sed -n "s/^$1://p" LAYERS) "
	while IFS=: read -r file what; do
		case $what in
		\"config.h | \<*)
			continue
			;;
		esac
		other=${what#\"}
		other=${other%%/*}
		case $allowed in
		*" $other "*) ;;
		*) echo "$file: $what\" is not below it" ;;
		esac
	done
}

# A foreign library has one room (or file) that knows it.
test_libraries()
{
	only raft.h '^group/'
	only raft/ '^group/'
	only fuse_lowlevel.h '^mount/'
	only lmdb.h '^store/store_lmdb\.c'
	only sodium.h '^net/|^store/digest\.c'
	only ini.h '^base/conf\.c'
	only inotifytools/ '^gov/'
	only libsmartcols '^gov/'
}

# only HEADER PATTERN: no file included HEADER but those matching PATTERN.
only()
{
	includes . | sed 's|^\./||' | grep -F ":<$1" | grep -vE "$2" |
	    tap "<$1> is included in $(echo "$2" | tr -d '^' | tr -d '\\') only"
}

test_purity()
{
	for room in command tree machine; do
		[ ! -d "$room" ] || includes "$room"
	done | grep -E '<(time|sys/time|sys/random|locale|math|uv|uthash|pthread)\.h|"base/(clock|log|metric|fault|reason)\.h' |
	    tap "deterministic rooms have no clock, chance, log or hash order"

	# And so the fault point wall_jump_s moves every wall clock there is.
	grep -rnE 'CLOCK_REALTIME|gettimeofday|[^_a-z]time\(NULL|clock_wall_ns\(' \
	    . --include='*.c' | grep -vE '^\./base/(clock|log|reason)\.c:' |
	    grep -vE '^\./(group/(forward|lease)|mount/|ctl/|engine/engine_local)' |
	    tap "O8: the wall clock stamps entries and refreshes, and is shown"
}

test_text()
{
	find . -name '*.c' | sort | while read -r file; do
		first=$(sed -n '/^#include/{p;q;}' "$file")
		[ "$first" = '#include "config.h"' ] || echo "$file: $first"
	done | tap "every .c includes config.h first"

	grep -rnwE 'TODO|FIXME|XXX|HACK' . --include='*.[ch]' \
	    --include='*.def' | tap "nothing is left to do later"

	grep -rn '[[:space:]]$' . --include='*.[ch]' --include='*.def' |
	    tap "no line ends in white space"

	find . -name '*.[ch]' | sort | while read -r file; do
		lines=$(wc -l <"$file")
		[ "$lines" -le 900 ] || echo "$file: $lines lines are two files"
		expand "$file" | awk -v file="$file" 'length($0) > 100 {
			print file ":" NR ": " length($0) " columns" }'
	done | tap "files have at most 900 lines, lines 100 columns"
}

test_makefile()
{
	find . -mindepth 2 -name '*.[ch]' -o -name '*.def' | sort |
	    while read -r file; do
		file=${file#./}
		grep -qF "src/$file" "${file%%/*}/local.mk" 2>/dev/null ||
		    echo "$file is in no local.mk"
	done | tap "every source is built and distributed"
}

test_headers()
{
	if ! command -v "$CC" >/dev/null 2>&1; then
		echo "ok - # SKIP no compiler ($CC)"
		return
	fi
	find . -name '*.h' | sort | while read -r file; do
		# shellcheck disable=SC2086
		printf '#include "%s"\n' "${file#./}" |
		    $CC -std=gnu11 -Wall -Wextra -Wno-unused-parameter \
			-Werror -fsyntax-only -D_GNU_SOURCE \
			-DFUSE_USE_VERSION=314 -I. $FUSE_CFLAGS -x c - 2>&1 |
		    grep -m1 error
	done | tap "every header compiles alone"
}

main | awk '
	/^(not )?ok -/ { sub(/ok -/, "ok " ++n " -") }
	{ print }
	END { print "1.." n }'
