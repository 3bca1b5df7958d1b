"""What users hold: fit a family, open one, take any size of it."""

from concertina.family.audits import Audited, AuditOptions, Checked
from concertina.family.debiasing import Debiased, DebiasOptions
from concertina.family.evidence import Evidence
from concertina.family.factorizing import factorize
from concertina.family.family import Family
from concertina.family.finish import measure_family
from concertina.family.fit import DEFAULT_POINTS, fit, prepare
from concertina.family.opening import open
from concertina.family.outlook import Outlook, outlook
from concertina.family.promises import PromiseOptions, Promises
from concertina.family.rivals import measure_rivals

__all__ = [
    "DEFAULT_POINTS",
    "AuditOptions",
    "Audited",
    "Checked",
    "DebiasOptions",
    "Debiased",
    "Evidence",
    "Family",
    "Outlook",
    "PromiseOptions",
    "Promises",
    "factorize",
    "fit",
    "measure_family",
    "measure_rivals",
    "open",
    "outlook",
    "prepare",
]
