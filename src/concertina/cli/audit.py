"""`concertina audit`: what each size of a classifier does to its classes, and promises about those that matter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, Report, table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.family_file import FamilyOptions, Reach, check_buildable, look, open_family
from concertina.cli.inputs import assigned, check_data, check_points, check_weights, names
from concertina.cli.layout import Sheet
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.family import Audited, Family, Promises
    from concertina.load.data import TensorData
    from concertina.types import Core

EXAMPLE = "concertina audit digits.concertina --data zoo:digits@test --protect 3=0.05 --save"
FAILED = 1


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, FamilyOptions):
    """Options of `concertina audit`."""

    data: Annotated[str, typer.Option(metavar="DATA", help="Labelled data that training has not seen.")]
    audits: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Audits: recall, calibration, churn, auc, confusion; all without --protect, else none."
        ),
    ] = ""
    bound: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What must hold at every point, such as 'recall[cat]>=0.8'; repeatable."),
    ] = None
    protect: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=RATE", help="Promise at most this false-negative rate of a class; repeatable."),
    ] = None
    min_precision: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=SHARE", help="Promise nothing under this precision; repeatable."),
    ] = None
    method: Annotated[
        str,
        typer.Option(metavar="NAME", help="Promises: binomial (95% confidence, all together) or conformal (average)."),
    ] = "binomial"
    points: Annotated[str, typer.Option(metavar="LIST", help="Points to audit (p10,p50); all when left out.")] = ""
    core: Annotated[
        str, typer.Option(metavar="NETWORK", help="The network the family was made from, to compare with.")
    ] = ""
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of --core (safetensors); its own when left out.")
    ] = None
    save: Annotated[bool, typer.Option("--save", help="Keep figures and promises in FILE, written anew.")] = False


def run(options: Options) -> int:
    """Audit the points of a classifier on data it has not seen: by class, and against the core.

    --bound states what must hold, --protect asks for a threshold that bounds the false negatives of a class. Leaves
    with 1 when a bound is not met or a promise is refused.
    """
    reach, protect, floors = check(options)
    console = Console(options)
    family = open_family(options, reach)
    _check_names(family, options, protect)
    core = _core(family, options)
    promised: Promises | None = None
    audited: Audited | None = None
    with console.progress() as progress:
        data = opened(options.data, family.core, options, progress)
        if protect:
            wanted = names(options.points)
            promised = family.promise(
                protect, data, points=wanted, min_precision=floors, method=options.method, progress=progress
            )
        if options.audits or options.bound or not protect:
            audited = _audited(family, data, core, options, progress)
    if options.save:
        family.save(options.file)
    console.result(_as_data(family, audited, promised), *_tables(family, audited, promised))
    if not options.save:
        console.remark(f"kept nowhere: give --save to keep this in '{options.file}'")
    failed = [*(audited.unmet if audited else ()), *(one for one in promised or () if one.refused)]
    return FAILED if failed else 0


def check(options: Options) -> tuple[Reach, dict[str, float], dict[str, float]]:
    """Refuse wrong options before anything slow is loaded; return the header's facts, the rates and the floors.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        FormatError: The file is not sound, or not whole.
    """
    check_data(options.data)
    check_tokenizer(options)
    check_weights(options.weights)
    if options.weights is not None and not options.core:
        raise InputError("--weights", asked="without --core", allowed="with --core")
    protect = assigned(options.protect, "--protect")
    floors = assigned(options.min_precision, "--min-precision")
    for name in floors:
        if name not in protect:
            raise InputError("--min-precision", asked=repr(name), allowed=", ".join(protect) or "with --protect")
    reach = look(options.file, options.upto)
    check_points(names(options.points), [point.name for point in reach.here])
    if options.save and len(reach.here) < len(reach.stored):
        raise InputError("--save", asked=f"with --upto {options.upto}", allowed="with all points of the file")
    call = f"family.promise({protect!r}, data)" if protect else "family.audit(data)"
    check_buildable(options, reach, call)
    return reach, protect, floors


def _check_names(family: Family, options: Options, protect: dict[str, float]) -> None:
    """Refuse names that the family or the registries do not know, before data is read."""
    from concertina.audits import AUDITS, GUARANTEES
    from concertina.family.audits import check_bounds
    from concertina.family.held_out import check_classifier
    from concertina.family.promises import check_protect

    check_classifier(family)
    GUARANTEES.entry(options.method)
    if options.audits and not names(options.audits):
        raise InputError("--audits", asked=repr(options.audits), allowed=", ".join(AUDITS.names()))
    check_bounds(options.bound or (), names(options.audits), family.core.class_names)
    if protect:
        check_protect(protect, family.core.class_names, "--protect")


def _core(family: Family, options: Options) -> Core | None:
    if not options.core:
        return None
    from concertina.family.audits import check_core
    from concertina.load import load

    core = load(options.core, weights=options.weights)
    check_core(family, core)
    return core


def _audited(family: Family, data: TensorData, core: Core | None, options: Options, progress: Report) -> Audited:
    return family.audit(
        data,
        audits=names(options.audits),
        bounds=options.bound or (),
        points=names(options.points),
        core=core,
        progress=progress,
    )


def _as_data(family: Family, audited: Audited | None, promised: Promises | None) -> dict[str, Any]:
    called = {point.spec.text: point.name for point in family.points}
    facts: dict[str, Any] = {}
    if promised is not None:
        facts["promises"] = [asdict(one) for one in promised]
    if audited is not None:
        facts["reference"] = audited.reference
        facts["records"] = [{"point": called.get(r.spec, r.spec), **asdict(r)} for r in audited.records]
        facts["bounds"] = [
            {"bound": one.bound, "point": one.point, "value": one.record.value, "met": one.met}
            for one in audited.checked
        ]
    return facts


def _tables(family: Family, audited: Audited | None, promised: Promises | None) -> list[Sheet | str]:
    from concertina.report.audited import audit_tables, confusion_table, promise_notes, promise_table

    parts: list[Sheet | str] = []
    if promised is not None:
        parts += [table(*promise_table(promised)), *promise_notes(promised), ""]
    if audited is None:
        return parts[:-1]
    made = audit_tables(family.points, audited.records, family.core.class_names)
    parts += [table(*made.overall), ""] if made.overall[1] else []
    for name, cells in made.by_class:
        parts += [f"point {name}" if name != "core" else name, table(*cells), ""]
    mistaken = confusion_table(family.points, audited.records)
    parts += [table(*mistaken), ""] if mistaken[1] else []
    if audited.reference == "full":
        parts.append("Compared with the full point: the core's answers to this data are not known (see --core).")
    rows = [(one.bound, one.point, one.record.value, "met" if one.met else "NOT MET") for one in audited.checked]
    return [*parts, *([table(("bound", "point", "value", "outcome"), rows)] if rows else [])]
