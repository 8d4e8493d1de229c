EXTRA_DIST += examples/cluster
