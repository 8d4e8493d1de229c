EXTRA_DIST += examples/build examples/cluster examples/deps examples/quickstart
