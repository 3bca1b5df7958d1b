"""Which channels, heads and blocks of a network can go: proposed by a dependency graph, judged by experiment."""

from concertina.analyse.analysis import analyse

__all__ = ["analyse"]
