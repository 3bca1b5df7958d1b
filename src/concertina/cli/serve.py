"""`concertina serve`: a family file over HTTP, the right subnet for each request."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.family_file import Reach, check_buildable, in_folder, look, look_far
from concertina.cli.options import Common
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.save import HttpSource
    from concertina.serve import Session, Settings
    from concertina.serve.arriving import Arriving

EXAMPLE = "concertina serve digits.concertina --port 8000"
LOCAL = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina serve`."""

    file: Annotated[str, typer.Argument(metavar="FILE", help="A family file, a folder with one, or an address.")]
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")] = LOCAL
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8000
    name: Annotated[str, typer.Option(metavar="NAME", help="What clients call the model; else the file's name.")] = ""
    runtime: Annotated[str, typer.Option(metavar="NAME", help="What computes: eager (torch), onnx or openvino.")] = (
        "eager"
    )
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one call.")] = None
    max_batch: Annotated[int, typer.Option(min=1, max=4096, help="Most inputs in one request and one call.")] = 16
    queue_limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most requests that may wait.")] = 256
    copy_bytes: Annotated[
        int, typer.Option(min=0, help="Memory for copies of subnets asked for often; 0 for none.")
    ] = 256 * 1024 * 1024
    latency_budget_ms: Annotated[float | None, typer.Option(help="Budget of requests that state none.")] = None
    floor: Annotated[
        list[str] | None,
        typer.Option(metavar="BOUND", help="What a point must meet to be chosen: 'accuracy>=0.9', 'recall[cat]>=0.8'."),
    ] = None
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve no page for people at /.")] = False


def run(options: Options) -> None:
    """Serve a family over HTTP by the Open Inference Protocol; its subnets are the model's versions.

    A request that names no version is answered by the largest subnet that fits its budget. Ready once every subnet is
    warmed up; SIGHUP takes in a new FILE without a failed request, SIGTERM ends it after all that waits has been
    answered. One JSON line a request goes to stderr. A file behind an address is served from its smallest subnet as
    soon as that is there, and grows while the rest arrives. A page for people is at `/`: traffic, figures, and a dial
    to try sizes with.
    """
    settings, name, source = check(options)
    from concertina.serve.host import Host
    from concertina.serve.server import bound
    from concertina.serve.server import run as serve

    console = Console(options)
    listening = bound(options.host, options.port)
    port = listening.getsockname()[1]
    shown = f"[{options.host}]" if ":" in options.host else options.host
    root = f"http://{shown}:{port}/"
    address, page = f"{root}v2/models/{name}", "" if options.no_page else root
    arriving = _arriving(source, options.file, settings) if source is not None else None
    opening = arriving.open if arriving is not None else lambda: _opened(options, settings)
    host = Host(name, opening, None if options.quiet else _log)

    def ready() -> None:
        """Say where it is served."""
        told = {"page": page} if page else {}
        console.result(
            {"url": address, "model": name, **told}, f"serving {address}" + (f"\npage {page}" if page else "")
        )
        sys.stdout.flush()

    if arriving is not None:
        arriving.follow(host)
    try:
        serve(host, listening, ready, page=not options.no_page)
    finally:
        if arriving is not None:
            arriving.close()


def check(options: Options) -> tuple[Settings, str, HttpSource | None]:
    """Refuse wrong options before anything is opened; return the settings, the model's name, and what is far.

    Raises:
        InputError: An option is wrong.
        FormatError: The file is not sound, or not whole.
        StorageError: The server that has it refuses, or is silent.
    """
    from concertina.save import HttpSource, is_address

    source = HttpSource(options.file) if is_address(options.file) else None
    path = in_folder(Path(options.file)) if source is None else Path(source.name)
    reach: Reach = look(path, None) if source is None else look_far(source)
    check_buildable(options, reach, "concertina.serve.Session(family)")
    name = options.name or path.stem
    if not name.isprintable() or not name or set(name) & set("/?#%") or len(name) > 100:
        raise InputError("--name", asked=repr(name)[:100], allowed="1 to 100 characters, none of / ? # %")
    if not options.host:
        raise InputError("--host", asked="an empty text", allowed="an address, such as 127.0.0.1 or 0.0.0.0")
    from concertina.family.runtimes import check_runtime
    from concertina.measure.bounds import Bound
    from concertina.serve import Settings

    check_runtime(options.runtime)
    floor = tuple(options.floor or ())
    for text in floor:
        Bound.read(text)
    if options.latency_budget_ms is not None and not 0 < options.latency_budget_ms < 1e12:
        raise InputError("--latency-budget-ms", asked=f"{options.latency_budget_ms:g}", allowed="a number above 0")
    return (
        Settings(
            runtime=options.runtime,
            threads=options.threads,
            max_batch=options.max_batch,
            queue_limit=options.queue_limit,
            copy_bytes=options.copy_bytes,
            floor=floor,
            latency_budget_ms=options.latency_budget_ms,
        ),
        name,
        source,
    )


def _arriving(source: HttpSource, address: str, settings: Settings) -> Arriving:
    from concertina.serve.arriving import Arriving

    return Arriving(source, address, settings)


def _opened(options: Options, settings: Settings) -> Session:
    from concertina.serve import Session

    return Session(in_folder(Path(options.file)), settings)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
