"""What a network is for: tasks with their losses, distances, augmentations and figures."""

from __future__ import annotations

from concertina.objective import adversary, hsic
from concertina.objective.augment import AUGMENTATIONS
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.classification import Classification
from concertina.objective.distances import DISTANCES
from concertina.objective.generate import generate
from concertina.objective.language import Language
from concertina.objective.removal import REMOVALS, Removal
from concertina.objective.similarity import Similarity
from concertina.objective.tagging import Tagging

__all__ = [
    "AUGMENTATIONS",
    "DISTANCES",
    "REMOVALS",
    "TASKS",
    "Classification",
    "Language",
    "Metric",
    "Removal",
    "Similarity",
    "Tagging",
    "Task",
    "adversary",
    "generate",
    "hsic",
]
