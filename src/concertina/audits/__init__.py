"""Audits of a classifier point by point, and ways to bound its false negatives. One file each, found by name."""

from concertina.audits import auc, binomial, calibration, churn, conformal, confusion, recall
from concertina.audits.base import AUDITS, CONFIDENCE, GUARANTEES, Audit, Guarantee, Reference

__all__ = [
    "AUDITS",
    "CONFIDENCE",
    "GUARANTEES",
    "Audit",
    "Guarantee",
    "Reference",
    "auc",
    "binomial",
    "calibration",
    "churn",
    "conformal",
    "confusion",
    "recall",
]
