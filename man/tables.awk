# tables.awk: the .def tables of the sources as mdoc lists.
#
#   awk -f man/tables.awk src/base/metric.def ... man/govfsd.8.in
#
# A line @METRIC@, @FAULT@, @COMMAND@ or @CONF section@ of the page becomes the
# list; so what the program has and what the manual says are one text.

function flush(	text, head, f, name, item, key, n)
{
	# NAME(a, b, ..., "text"): the text is the last string.
	n = match(acc, /"[^"]*"\)[[:space:]]*$/)
	text = substr(acc, n + 1)
	sub(/"\)[[:space:]]*$/, "", text)
	head = substr(acc, index(acc, "(") + 1, n - index(acc, "(") - 1)
	split(head, f, /,[[:space:]]*/)
	key = kind
	if (kind == "METRIC")
		item = ".It Va govfs_" f[1] (f[2] == "TIME" ? "_seconds" : "") \
		    " Pq " (f[2] == "TIME" ? "summary" : tolower(f[2]))
	else if (kind == "FAULT")
		item = ".It Cm " f[1]
	else if (kind == "COMMAND")
		item = ".It Cm " f[2]
	else {
		key = "CONF " f[1]
		gsub(/"/, "", f[5])
		item = ".It Ic " f[2] (f[5] != "" ? " Pq " f[5] : "")
	}
	list[key] = list[key] item "\n" wrap(text)
}

# Lines that mdoc takes as text, of at most 78 bytes, sentences on their own.
function wrap(text,	words, n, i, line, out)
{
	n = split(text, words, " ")
	for (i = 1; i <= n; i++) {
		if (words[i] ~ /^[a-z_]+\(\)$/) { # a function has its macro
			out = out (line != "" ? line "\n" : "") ".Fn " \
			    substr(words[i], 1, length(words[i]) - 2) "\n"
			line = ""
			continue
		}
		if (line != "" && length(line) + length(words[i]) > 76) {
			out = out line "\n"
			line = ""
		}
		line = line (line == "" ? "" : " ") words[i]
		if (words[i] ~ /[^.]\.$/ && i < n) {
			out = out line "\n"
			line = ""
		}
	}
	return out line (line ~ /[.:]$/ ? "" : ".") "\n"
}

FILENAME ~ /\.def$/ {
	if (match($0, /^(METRIC|FAULT|COMMAND|CONF)\(/)) {
		kind = substr($0, 1, RLENGTH - 1)
		acc = $0
	} else if (kind != "")
		acc = acc " " $0
	if (kind != "" && acc ~ /"\)[[:space:]]*$/) {
		flush()
		kind = ""
	}
	next
}

/^@[A-Z]+( [a-z]+)?@$/ {
	name = substr($0, 2, length($0) - 2)
	if (!(name in list)) {
		print "tables.awk: there is no table " name > "/dev/stderr"
		exit 1
	}
	print ".Bl -tag -width Ds"
	printf "%s", list[name]
	print ".El"
	next
}

{ print }
