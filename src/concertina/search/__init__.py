"""Search over the whole space of a family: few real evaluations, many predicted ones."""

from concertina.search import cluster, genetic, guided, random_search
from concertina.search.executor import EXECUTORS, Executor
from concertina.search.front import Area
from concertina.search.goal import Goal, Trial
from concertina.search.journal import Journal
from concertina.search.options import SearchOptions, SearchSettings
from concertina.search.run import SearchResult, search
from concertina.search.strategy import STRATEGIES, Problem, Strategy
from concertina.search.study import Study

__all__ = [
    "EXECUTORS",
    "STRATEGIES",
    "Area",
    "Executor",
    "Goal",
    "Journal",
    "Problem",
    "SearchOptions",
    "SearchResult",
    "SearchSettings",
    "Strategy",
    "Study",
    "Trial",
    "cluster",
    "genetic",
    "guided",
    "random_search",
    "search",
]
