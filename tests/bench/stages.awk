# stages.awk: what each host counted before a load and after it
# ("host name value"): the mean time of each stage meanwhile, and what one put
# cost.  The median since the start stands beside it: a mean has outliers in it.

FNR == 1 { file++ }
file == 1 { before[$1, $2] = $3; next }
{ after[$1, $2] = $3 }

function grown(host, name) { return after[host, name] - before[host, name] }
function role(host) { return host == leader ? "leader" : "host " host }

function stage(name, text,    h, n, line) {
	name = "govfs_" name "_seconds"
	line = ""
	for (h = 1; h <= 3; h++) {
		n = grown(h, name "_count")
		if (n > 0)
			line = line sprintf("%9.0f (%5.0f)",
			    grown(h, name "_sum") / n * 1e6,
			    after[h, name "{quantile=\"0.5\"}"] * 1e6)
		else
			line = line sprintf("%17s", "-")
	}
	printf "  %-44s%s\n", text, line
}

function total(name,    h, n) {
	for (h = 1; h <= 3; h++)
		n += grown(h, "govfs_" name)
	return n
}

END {
	title["put1"] = "1 client at the leader"
	title["put64"] = "64 clients on all hosts"
	title["wake"] = "1 client at the leader, a watcher elsewhere"
	n = grown(leader, "govfs_commands_applied")
	if (n <= 0)
		exit
	printf "\n%-46s", "where the time goes: " title[figure]
	for (h = 1; h <= 3; h++)
		printf "%17s", role(h)
	printf "\n  mean us meanwhile (median us since the start)\n"
	stage("write_time", "FLUSH until its answer")
	stage("commit_time", "proposed until its outcome here")
	stage("wal_write_time", "one durable write of the log")
	stage("turn_commit_time", "the store's transaction of a turn")
	stage("replay_time", "one operation of the helper")
	stage("replay_lag_time", "applied until replayed")
	printf "  per put: %.1f commands an entry, %.2f log writes and %.0f B " \
	    "a host, %.2f frames and %.0f B sent, %.0f us of the daemons' CPU, " \
	    "%.2f replays a host\n",
	    n / max(1, grown(leader, "govfs_entries_applied")),
	    total("wal_writes") / n / 3, total("wal_bytes") / n / 3,
	    total("net_frames_out") / n, total("net_bytes_out") / n,
	    grown("all", "cpu_ticks") / hz * 1e6 / n,
	    total("replay_ops") / n / 3
}

function max(a, b) { return a > b ? a : b }
