"""The program `concertina`: nothing but this little is loaded before Ctrl-C has its quiet end."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line and return its exit code, as `concertina.cli.main` does."""
    try:
        from concertina.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
