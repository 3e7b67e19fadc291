"""A benchmark of one trading workload on ztfast and its peers: ``python -m bench.peers setup``, then ``run``."""
