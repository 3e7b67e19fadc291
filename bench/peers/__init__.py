"""One trading workload, answered by ztfast and by its peers: ``python -m bench.peers setup``, then ``run``."""
