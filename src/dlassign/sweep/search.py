"""Search: a strategy together with its memory in the journal of the sweep."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlassign.errors import UserError
from dlassign.store.json_lines import JsonLines
from dlassign.store.sweep_journal import JournalEntry
from dlassign.sweep.trial import Candidate, Strategy, TrialMaker


class Search:
    """Asks a strategy for points, and tells it what became of them; a killed driver's calls are repeated first.

    `journal` keeps what is asked and told; `calls` are what earlier drivers asked and told, in that order.

    Raises:
        UserError: the strategy chooses otherwise now, so that what it was told means nothing.
    """

    def __init__(
        self, strategy: Strategy, make: TrialMaker, *, journal: JsonLines, calls: Sequence[JournalEntry] = ()
    ) -> None:
        self._strategy = strategy
        self._make = make
        self._journal = journal
        self._told: set[int] = set()
        self._answers: dict[int, dict[int, bool]] = {}
        self.candidates: list[Candidate] = []
        for call in calls:
            self._repeat(call)

    def _repeat(self, call: JournalEntry) -> None:
        number = call["number"]
        if call["kind"] != "ask" and number not in {candidate.number for candidate in self.candidates}:
            raise UserError(
                f"the journal tells the result of point {number} and does not say that it was asked for; it has been "
                "changed. Give the sweep another name: its runs stay"
            )
        match call["kind"]:
            case "ask":
                found = self._strategy.ask()
                if found is None or found[0] != number or _plain(found[1]) != call["values"]:
                    raise UserError(
                        f"the strategy chose {call['values']} as point {number} before, and "
                        f"{found and found[1]} now; another version of a package may be the reason. Give the sweep "
                        "another name: its runs stay"
                    )
                self.candidates.append(self._make.candidate(number, found[1]))
            case "report":
                self._remember(number, call["step"], call["value"])
            case "tell":
                self._told.add(number)
                self._strategy.tell(number, call["value"])

    def each(self, wanted: Callable[[], bool] = lambda: True) -> Iterator[Candidate]:
        """Yield the points of earlier drivers, then new ones, each asked for when it is wanted."""
        yield from list(self.candidates)
        while wanted() and (found := self._strategy.ask()) is not None:
            number, values = found
            self._journal.write("ask", number=number, values=values)
            self.candidates.append(self._make.candidate(number, values))
            yield self.candidates[-1]

    def report(self, number: int, step: int, value: float | None) -> bool:
        """Tell an intermediate value; True if the point should be given up.

        A resumed run repeats evaluations: what was told before is not told again, and an answer stays.
        """
        known = self._answers.get(number, {})
        if step in known:
            return known[step]
        self._journal.write("report", number=number, step=step, value=value)
        return self._remember(number, step, value)

    def _remember(self, number: int, step: int, value: float | None) -> bool:
        answer = self._strategy.report(number, step, value)
        self._answers.setdefault(number, {})[step] = answer
        return answer

    def tell(self, number: int, value: float | None) -> None:
        """Tell the result of a point, once."""
        if number not in self._told:
            self._told.add(number)
            self._journal.write("tell", number=number, value=value)
            self._strategy.tell(number, value)


def _plain(values: dict[str, Any]) -> Any:
    """Return values as the journal gives them back."""
    return json.loads(json.dumps(values))
