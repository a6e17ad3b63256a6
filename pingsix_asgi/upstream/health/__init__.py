"""Whether nodes are healthy: the verdict, the checks, the probes."""
