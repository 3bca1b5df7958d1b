"""Ctrl-C as a training run meets it, at a known moment.

A signal sent to the own process may be handled late where other threads run (CPython before 3.12), after the run has
given the old handler back, and then takes down whatever runs; so the handler that the run installed is called directly.
Real signals are sent to processes of their own, in `tests/cli/test_verbs.py`.
"""

from __future__ import annotations

import signal


def press_ctrl_c() -> None:
    """Call the handler that a real Ctrl-C would reach now."""
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler), "nobody listens for Ctrl-C"
    handler(signal.SIGINT, None)
