"""What may go wrong in a benchmark."""


class BenchError(Exception):
    """What was to be measured can't be; the message is one sentence for a human."""
