"""The command line's surface: frozen, quick to help, and free of torch until work begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from concertina.cli import VERBS, build_app, typed

SURFACE = Path(__file__).with_name("cli_surface.txt")


def commands() -> dict[str, typer.core.TyperCommand]:
    return dict(typer.main.get_command(build_app()).commands)


def test_surface_is_frozen(golden: Callable[[Path, str], None]) -> None:
    lines = ["# Every verb and option. A new line is a decision: `sh scripts/rewrite`, then review the diff."]
    lines += [
        f"{name} {' '.join((*parameter.opts, *parameter.secondary_opts))}"
        for name, command in commands().items()
        for parameter in command.params
    ]
    golden(SURFACE, "\n".join(lines) + "\n")


@pytest.mark.parametrize("verb", VERBS, ids=typed)
def test_every_verb_explains_itself(verb: object) -> None:
    name = typed(verb)
    command = commands()[name]
    silent = [parameter.name for parameter in command.params if not parameter.help]
    assert silent == []
    assert command.epilog.startswith(f"Example: concertina {name}")
    assert (command.help or "").strip().endswith(".")


@pytest.mark.parametrize("verb", VERBS, ids=typed)
def test_examples_use_options_that_exist(verb: object) -> None:
    words = verb.EXAMPLE.removeprefix(f"concertina {typed(verb)}").split()
    known = {option for parameter in commands()[typed(verb)].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_help_does_not_load_torch() -> None:
    program = (
        "import sys\nfrom concertina.cli import VERBS, main, typed\n"
        "for words in [['--help'], *([*typed(verb).split(), '--help'] for verb in VERBS)]:\n"
        "    assert main(words) == 0\n"
        "print(sorted({'torch', 'numpy', 'sklearn', 'pyarrow'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
