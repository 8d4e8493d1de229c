#!/usr/bin/env bash
# L1, L4, T8, O6, U12 on a real network: each host has a network namespace and
# an address of its own, and a port of a switch, which can be cut.
#
# The namespaces have names of this test's own and are removed when it ends.
# `cut.t [TEST...]`: some of cut.py's; "all of them" as `make soak` does, whose
# TTL_MS is longer.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need bridge ip nsenter python3 setfattr
export TTL_MS=${TTL_MS:-3000}
export CLUSTER_CONF="session_ttl_ms = $TTL_MS"
export NET=govtest$$

# Three hosts on a switch, which is a bridge in a namespace too.
network_up() {
	local i
	ip netns add "$NET-sw" || return 1
	ip -n "$NET-sw" link add sw type bridge || return 1
	ip -n "$NET-sw" link set sw up
	for i in 1 2 3; do
		ip netns add "$NET-$i" || return 1
		ip -n "$NET-sw" link add "p$i" type veth \
		    peer name eth0 netns "$NET-$i" || return 1
		ip -n "$NET-sw" link set "p$i" master sw up
		ip -n "$NET-$i" address add "10.7.7.$i/24" dev eth0
		ip -n "$NET-$i" link set eth0 up
		ip -n "$NET-$i" link set lo up
	done
}
# shellcheck disable=SC2317 # by cleanup
network_down() {
	local name
	for name in "$NET-1" "$NET-2" "$NET-3" "$NET-sw"; do
		[ ! -e "/run/netns/$name" ] || ip netns del "$name"
	done
}
# shellcheck disable=SC2317 # by the trap
cleanup() { # the daemons first
	local status=$?
	(exit "$status")
	(tap_cleanup) || status=$?
	network_down
	exit "$status"
}
trap cleanup EXIT
network_up 2>/dev/null || skip_all "network namespaces are not permitted"

case "$*" in
'') set -- follower leader nobody ;;
'all of them') set -- ;;
esac
make_tmp
export INSIDE=$GOVFSD
cat > "$tmp/govfsd" <<'SH'
#!/bin/sh
# govfsd -c DIR/I/govfs.conf ..., where host I is
i=$(basename "$(dirname "$2")")
exec nsenter --net="/run/netns/$NET-$i" "$INSIDE" "$@"
SH
chmod +x "$tmp/govfsd"
export GOVFSD=$tmp/govfsd
export CLUSTER_ADDRESSES="10.7.7.1 10.7.7.2 10.7.7.3"
cluster_up 3
run_actors cut.py "$@"
ok "the hosts agree at the end" wait_for 20 same 1 2 3
done_testing
