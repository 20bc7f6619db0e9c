"""What ends a benchmark."""


class BenchError(Exception):
    """Why no more can be measured, in words for whoever started it."""
