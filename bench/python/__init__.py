"""Benchmarks of the Python API for pytest-benchmark; ``bench/README.md`` says how to run and read them."""
