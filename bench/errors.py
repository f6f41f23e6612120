"""The errors of the benchmarks."""


class BenchError(Exception):
    """Something can't be measured; the message is one sentence for a person."""
