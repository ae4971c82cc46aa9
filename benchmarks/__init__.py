"""Side-by-side measurements against peers and floors; docs/benchmarks.md keeps the results."""
