"""The study: asks a strategy, is told what was measured, and remembers it in the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from concertina.errors import ResumeError
from concertina.search.front import front
from concertina.search.goal import Goal, Trial
from concertina.search.journal import Entry, Journal
from concertina.search.strategy import Strategy
from concertina.types import SubnetSpec

Measure = Callable[[Sequence[SubnetSpec]], Iterator[float]]
"""From specs to their metric, in their order."""


class Study:
    """A search by ask and tell, in rounds; usable in any loop.

    Every round rests on whole earlier rounds only, so that a run that was killed goes on as if it had not been.

    Args:
        strategy: What proposes specs.
        journal: What was measured, of this run and of an earlier one.
        round_size: Specs a round.

    Raises:
        ResumeError: The journal holds what this search would not have asked for.
        SpecError: The journal holds specs of another space.
    """

    def __init__(self, strategy: Strategy, journal: Journal, *, round_size: int = 4) -> None:
        self.strategy, self._journal, self._round_size = strategy, journal, round_size
        self.trials = [self._trial(entry) for entry in journal.entries]
        """Everything measured, in the order in which it was asked for."""
        self._number = journal.entries[-1].number if journal.entries else 0
        self._start = sum(entry.number < self._number for entry in journal.entries)
        self._asked: list[SubnetSpec] | None = None

    @property
    def goal(self) -> Goal:
        """What the search is after."""
        return self.strategy.problem.goal

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in both goals, cheapest first."""
        return front(self.trials)

    def ask(self) -> list[SubnetSpec]:
        """Return what is still to be measured of the round under way; none when there is nothing left to try."""
        if self._asked is None:
            self._asked = self._propose()
        if self._asked and len(self.trials) == self._start + len(self._asked):
            self._start, self._number = len(self.trials), self._number + 1
            self._asked = self._propose()
        return self._asked[len(self.trials) - self._start :]

    def tell(self, spec: SubnetSpec, value: float) -> None:
        """Note the metric of a spec, in the order in which they were asked for."""
        self._journal.add(Entry(self._number, spec, value))
        self.trials.append(self.goal.trial(spec, value))

    def run(self, measure: Measure, trials: int, progress: Callable[[str, float], None]) -> None:
        """Ask and tell until there are `trials` of them, or nothing is left to try.

        Args:
            measure: Measures specs.
            trials: How many in all, those of an earlier run included.
            progress: Told the share that is done.
        """
        while len(self.trials) < trials and (asked := self.ask()):
            asked = asked[: trials - len(self.trials)]
            for spec, value in zip(asked, measure(asked), strict=True):
                self.tell(spec, value)
                progress("searching", len(self.trials) / trials)

    def _propose(self) -> list[SubnetSpec]:
        asked = self.strategy.propose(self.trials[: self._start], self._round_size)
        told = [trial.spec for trial in self.trials[self._start :]]
        if asked[: len(told)] != told:
            raise ResumeError("the journal holds other specs than this search asks for", do="Begin anew.")
        return asked

    def _trial(self, entry: Entry) -> Trial:
        return self.goal.trial(self.strategy.problem.space.check(entry.spec), entry.value)
