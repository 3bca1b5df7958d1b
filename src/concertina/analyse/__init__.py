"""Which channels, heads and blocks of a network can go: proposed by a dependency graph, judged by experiment."""

from concertina.analyse import grouped_embedding, pairs, split_attention
from concertina.analyse.analysis import analyse
from concertina.analyse.by_hand import Declared, group

__all__ = ["Declared", "analyse", "group", "grouped_embedding", "pairs", "split_attention"]
