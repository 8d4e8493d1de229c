# lib.sh: TAP and clusters for scenario tests; sourced by tests/*.t
#
#   . "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"
#   need_mounts; cluster_up 3
#   echo hello > "$(host 1)/config/f"
#   ok "F1: the others see it" wait_for 5 grep -q hello "$(host 2)/config/f"
#   done_testing
#
# GOV_SRC is the source tree and GOV_BUILD the build, where the programs are.
# Wait for conditions with wait_for; never sleep.  What another host shows has to
# be waited for, always: its turn comes later.  What cluster_up makes is taken
# down when the script ends, however it does.
#
# The machine may be slow and busy.  A promise about time is tested with soon, or
# pace_ms: bounds that time itself would break are no test of the program.
# shellcheck shell=bash disable=SC2034

GOV_SRC=$(cd "${GOV_SRC:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd)
GOV_BUILD=$(cd "${GOV_BUILD:-$GOV_SRC/build}" 2>/dev/null && pwd) ||
	GOV_BUILD=$GOV_SRC
export GOV_SRC GOV_BUILD
export GOV=${GOV:-$GOV_BUILD/gov} GOVFSD=${GOVFSD:-$GOV_BUILD/govfsd}
# Of tests/mounts.py, which python programs may import.
export PYTHONPATH=$GOV_SRC/tests PYTHONDONTWRITEBYTECODE=1
# So that `gov watch ... &` is the program itself, which $! can end.
PATH=$(dirname "$GOV"):$PATH

tap_n=0 tap_failed=0 tap_done=0
DIR="" tmp="" pace=""

# A core file of a program killed in the tree would be a change of the tree.
ulimit -c 0

# ---- TAP ----

# The report goes where the script's output went at first, whatever a test does
# with the output of what it runs:  ok "it prints" gov why PATH > "$tmp/out"
exec {tap_out}>&1 {tap_err}>&2

diag() { printf '%s\n' "$*" | sed 's/^/# /' >&"$tap_err"; }

# result STATUS DESCRIPTION: one line of TAP, for tests that judge themselves
result() {
	tap_n=$((tap_n + 1))
	if [ "$1" = 0 ]; then
		printf 'ok %d - %s\n' "$tap_n" "$2" >&"$tap_out"
		return 0
	fi
	printf 'not ok %d - %s\n' "$tap_n" "$2" >&"$tap_out"
	tap_failed=$((tap_failed + 1))
	return 0
}

# ok DESCRIPTION COMMAND...: the command succeeds
ok() {
	local tap_text=$1 status=0
	shift
	"$@" || status=$?
	result "$status" "$tap_text"
	[ "$status" = 0 ] || diag "exit code $status: $*"
}

# nok DESCRIPTION COMMAND...: it fails
nok() {
	local tap_text=$1 status=1
	shift
	"$@" || status=0
	result "$status" "$tap_text"
	[ "$status" = 0 ] || diag "it should have failed: $*"
}

# is GOT WANT DESCRIPTION
is() {
	local status=0
	[ "$1" = "$2" ] || status=1
	result "$status" "$3"
	[ "$status" = 0 ] || diag "got: $1
want: $2"
}

# like GOT PATTERN DESCRIPTION: as [[ GOT == PATTERN ]]
like() {
	local status=0
	# shellcheck disable=SC2053
	[[ $1 == $2 ]] || status=1
	result "$status" "$3"
	[ "$status" = 0 ] || diag "got: $1
want: $2"
}

# exits CODE DESCRIPTION COMMAND...: the command's exit code
exits() {
	local want=$1 tap_text=$2 status=0
	shift 2
	"$@" || status=$?
	is "$status" "$want" "$tap_text"
}

skip() {
	tap_n=$((tap_n + 1))
	printf 'ok %d - # SKIP %s\n' "$tap_n" "$*" >&"$tap_out"
}
skip_all() { printf '1..0 # SKIP %s\n' "$*"; tap_done=1; exit 0; }

bail_out() {
	printf 'Bail out!  %s\n' "$*"
	tap_done=1
	exit 1
}

done_testing() {
	printf '1..%d\n' "$tap_n"
	tap_done=1
	[ "$tap_failed" = 0 ]
	exit
}

# ---- what a test needs ----

need() {
	local program
	for program; do
		command -v "$program" >/dev/null || skip_all "there is no $program"
	done
}

need_mounts() {
	[ "$(id -u)" = 0 ] || skip_all "mounting needs root"
	[ -c /dev/fuse ] || skip_all "there is no /dev/fuse"
	[ -x "$GOVFSD" ] || skip_all "there is no $GOVFSD"
	[ -x "$GOV" ] || skip_all "there is no $GOV"
}

# ---- waiting ----

# wait_for SECONDS COMMAND...: true as soon as the command is.  SECONDS are enough
# on a machine at rest; only after ten times that it is false.
wait_for() {
	local end=$((SECONDS + 10 * $1))
	shift
	until "$@" 2>/dev/null; do
		[ "$SECONDS" -lt "$end" ] || { diag "in vain: $*"; return 1; }
		sleep 0.02
	done
}

# soon MS COMMAND...: it is true within that time, as pace_ms has it
soon() {
	local ms=$1 began took
	shift
	began=$(pace_ms)
	wait_for 5 "$@" || return 1
	took=$(($(pace_ms) - began))
	[ "$took" -le "$ms" ] || { diag "$took ms: $*"; return 1; }
}

# The time.  Nothing may be too early by this clock.
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# The time without that in which the machine did not get on, once there is a
# cluster (pace.h).  Nothing may be too late by this one.
pace_ms() { local ms; read -r ms < "$tmp/pace" && echo "$ms"; }
pace_up() {
	[ -z "$pace" ] || return 0
	"$GOV_BUILD/tests/pace" "$tmp/pace" > /dev/null {tap_out}>&- {tap_err}>&- &
	pace=$!
	disown
	wait_for 1 test -s "$tmp/pace" || bail_out "there is no clock"
}

# ---- clusters ----

# The place for a test's own files: $tmp
make_tmp() { [ -n "$tmp" ] || tmp=$(mktemp -d -t govtest.XXXXXX); }

# cluster_up N [govfsd options]: $DIR/1 ... $DIR/N
cluster_up() {
	make_tmp
	pace_up
	DIR=$tmp/c
	cluster up "$@" || bail_out "the cluster does not come up"
}
# The same; a machine that stalls ends no session there, and refuses no change.
patient_up() {
	CLUSTER_CONF="session_ttl_ms = 30000
write_timeout_ms = 30000" cluster_up "$@"
}

# Daemons must not keep prove's pipe open.
cluster() {
	"$GOV_SRC/examples/cluster" "$DIR" "$@" {tap_out}>&- {tap_err}>&-
}
host() { printf '%s\n' "$DIR/$1/gov"; }	  # its mountpoint
state() { printf '%s\n' "$DIR/$1/state"; }
rev() { cat "$(host "$1")/.gov/version"; } # the revision that host shows
digest() { gov debug digest --state "$(state "$1")"; }
# sync_host MOUNTPOINT: what was committed anywhere before, that host shows from
# now on.  Where its replay is stuck for 2 s, it is an EIO, and asked again.
sync_host() { wait_for 5 getfattr -n gov.sync "$1" > /dev/null; }
# fault I NAME VALUE
fault() { gov debug fault --state "$(state "$1")" -- "$2" "$3"; }
# lease_ms I: how long host I's session lasts at least
lease_ms() {
	python3 - "$(host "$1")/locks/lease" <<-'PY'
	import fcntl, os, struct, sys
	fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
	fcntl.flock(fd, fcntl.LOCK_EX)
	lease = 2 << 30 | 8 << 16 | ord('g') << 8 | 3  # GOVFS_IOC_LEASE
	ns = struct.unpack('Q', fcntl.ioctl(fd, lease, bytes(8)))[0]
	print(ns // 1000000)
	PY
}
# metric I NAME: its value, e.g. govfs_parked
metric() {
	gov debug metrics --state "$(state "$1")" |
	    awk -v name="$2" '$1 == name { print $2 }'
}

# run_actors FILE [TEST...]: a program of tests/scenario/ whose lines are results
run_actors() {
	local status text over=1
	while IFS=$'\t' read -r status text; do
		case $status in
		[01]) result "$status" "$text" ;;
		done) over=0 ;;
		*) diag "$text" ;;
		esac
	done < <(python3 "$GOV_SRC/tests/scenario/$1" "$(host 1)" "$(host 2)" \
	    "$(host 3)" "$tmp" "${@:2}" {tap_out}>&- {tap_err}>&-)
	[ "$over" = 0 ] || result 1 "$1 came to its end"
}

# same I J...: these hosts have applied the same tree, and it is sound
same() {
	local i d first=
	for i; do
		d=$(digest "$i") || return 1
		[ -z "$first" ] || [ "$d" = "$first" ] || return 1
		first=$d
	done
}

# ---- the end ----

tap_cleanup() {
	local status=$? job
	trap - EXIT
	for job in $(jobs -pr); do # the numbers of others are anybody's
		kill "$job" 2>/dev/null
	done
	if [ -n "$DIR" ]; then
		if [ "$tap_failed" != 0 ] || [ "$tap_done" = 0 ]; then
			for job in "$DIR"/*/log; do
				[ -f "$job" ] && diag "--- $job" &&
				    diag "$(tail -n 15 "$job")"
			done
		fi
		cluster down
	fi
	[ -z "$pace" ] || kill "$pace" 2>/dev/null
	# Never into a mount that could not be cleared.
	[ -z "$tmp" ] || rm -rf --one-file-system "$tmp"
	if [ "$tap_done" = 0 ]; then
		echo "Bail out!  the script ended early, status $status"
		[ "$status" != 0 ] || status=1
	fi
	exit "$status"
}
trap tap_cleanup EXIT
trap 'exit 130' INT TERM HUP
