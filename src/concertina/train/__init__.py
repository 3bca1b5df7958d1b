"""Train a family: recipes, one file each, over one resumable loop. Add one: write the file, import it here."""

from concertina.train import fixed_list, label_free, low_churn, prune_and_grow, sandwich, sparse_first
from concertina.train.calibrate import calibrate
from concertina.train.labels import labelled
from concertina.train.loop import Reporter, num_steps, train
from concertina.train.plan import check_room
from concertina.train.ranks import Ranks, joined
from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe
from concertina.train.rehearsal import REHEARSE_FROM, rehearsed_order
from concertina.train.schedule import step_seed
from concertina.train.settings import TrainSettings
from concertina.train.trainer import Teacher, Trainer

__all__ = [
    "RECIPES",
    "REHEARSE_FROM",
    "Lesson",
    "Phase",
    "Ranks",
    "Recipe",
    "Reporter",
    "Teacher",
    "TrainSettings",
    "Trainer",
    "calibrate",
    "check_room",
    "fixed_list",
    "joined",
    "label_free",
    "labelled",
    "low_churn",
    "num_steps",
    "prune_and_grow",
    "rehearsed_order",
    "sandwich",
    "sparse_first",
    "step_seed",
    "train",
]
