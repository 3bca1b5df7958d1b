"""What a network is for: tasks with their losses, distances, augmentations and figures."""

from __future__ import annotations

from concertina.objective.augment import AUGMENTATIONS
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.classification import Classification
from concertina.objective.distances import DISTANCES
from concertina.objective.similarity import Similarity

__all__ = ["AUGMENTATIONS", "DISTANCES", "TASKS", "Classification", "Metric", "Similarity", "Task"]
