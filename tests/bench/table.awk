# table.awk: rows, then figures ("figure column value"); prints the table.
# Medians over the rounds; of the hosts' memory, the largest.

function median(key,    n, v, i, j, t) {
	n = count[key]
	for (i = 1; i <= n; i++)
		v[i] = value[key, i]
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] > v[j]; j--) {
			t = v[j]; v[j] = v[j - 1]; v[j - 1] = t
		}
	if (key ~ /^rss/)
		return v[n]
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

# The best of several figures of one column; -1: there is none.
function best(figures, column, larger,    n, f, i, m, ret) {
	ret = -1
	n = split(figures, f, ",")
	for (i = 1; i <= n; i++) {
		if (!((f[i], column) in counted))
			continue
		m = median(f[i] " " column)
		if (ret < 0 || (larger ? m > ret : m < ret))
			ret = m
	}
	return ret
}

function show(x) {
	if (x < 0)
		return "-"
	return sprintf(x < 10 ? "%.2f" : x < 1000 ? "%.1f" : "%.0f", x)
}

function ratio(x, y) { return x < 0 || y <= 0 ? "-" : sprintf("%.2f", x / y) }

FNR == 1 { file++ }
/^#/ { next }
file == 1 { row[++n_rows] = $0; next }
{
	key = $1 " " $2
	value[key, ++count[key]] = $3
	counted[$1, $2]
}

END {
	printf "\n%-49s%9s%9s%9s%7s%7s  %s\n", "", "govfs", "etcd", "raw",
	    "/etcd", "/raw", "target"
	for (r = 1; r <= n_rows; r++) {
		split(row[r], f, "|")
		sub(/^\./, " ", f[1])
		larger = (f[5] == ">")
		g = best(f[2], "govfs", larger)
		e = best(f[3], "etcd", larger)
		w = best(f[4], "raw", larger)
		n = split(f[6], t, " ")
		base = t[2] == "etcd" ? e : t[2] == "raw" ? w : 1
		text = ""
		if (n > 0) {
			text = (larger ? ">= " : "<= ") f[6]
			by = t[1] * base - g
			if (larger)
				by = -by
			if (g >= 0 && base > 0)
				text = text (by >= 0 ? ": yes" : ": NO")
		}
		printf "%-49s%9s%9s%9s%7s%7s  %s\n", f[1], show(g), show(e),
		    show(w), ratio(g, e), ratio(g, w), text
	}
	for (key in count)
		if (key ~ /_errors/)
			printf "%s: up to %d calls failed\n", key, median(key)
}
