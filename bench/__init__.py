"""How fast is it?

Each file of bench/measures/ measures one thing and yields figures; `python -m bench` runs them, keeps every figure in
bench/results/, and renders docs/performance.md. Benchmarks compare medians and ratios taken in one run. They never fail
a build: a figure that misses its goal is shown as such.
"""
