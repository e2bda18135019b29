"""repeat_stretches: a few stretches of a run trained again, and compared with what its log says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

from dlassign.errors import counted
from dlassign.store.paths import RunPaths
from dlassign.verify.judgement import Judgement, untold
from dlassign.verify.marks import Known, known_of
from dlassign.verify.outcome import Stretch, compared
from dlassign.verify.repetition import CANNOT_TRAIN, Source, one_line, open_source, repetition

NAME = "stretch"
FEWER = "stretches"
"""The check that says that there were fewer than were asked for."""


def repeat_stretches(
    paths: RunPaths, count: int, *, choice: int, overrides: tuple[str, ...] = (), trust: bool = False
) -> list[Judgement]:
    """Train random stretches of a run again, in memory, and compare weights and log records with those of the run.

    A stretch goes from one step whose weights are known to the next. Training can begin where its whole state is known:
    at the beginning of the run, and at a checkpoint that was kept. Where these are fewer than are asked for, stretches
    that follow on them are repeated, too.

    Args:
        paths: the run, which is only read.
        count: stretches to repeat; all, if there are fewer.
        choice: seed of their choice.
        overrides: keys that change no result, such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.

    Returns:
        A judgement for each stretch.
    """
    try:
        source = open_source(paths, overrides=overrides, trust=trust)
    except CANNOT_TRAIN as error:
        return [untold(NAME, one_line(error))]
    known = known_of(source.records, paths, name=NAME)
    chains = chains_of(known)
    if not chains:
        why = "neither the log nor a file says what the weights were after a step, so there is nothing to compare with"
        return [*known.notes, untold(NAME, why)]
    repeated = (_repeat(source, one, known) for one in chosen(chains, count, choice=choice))
    return [*known.notes, *chain.from_iterable(repeated), *_fewer(sum(map(len, chains)), count)]


def _fewer(there: int, count: int) -> Iterator[Judgement]:
    """Yield that fewer stretches are there than were asked for."""
    if there < count:
        each = "it was" if there == 1 else "each was"
        have = f"the run has {counted(there, 'stretch', 'stretches')} between steps whose weights are known"
        yield untold(FEWER, f"{counted(count, 'stretch was', 'stretches were')} asked for, and {have}: {each} repeated")


def chains_of(known: Known) -> list[list[Stretch]]:
    """Return the stretches of a run in chains, each from a step at which training can begin up to the next such."""
    chains: list[list[Stretch]] = []
    for start, stop in pairwise(sorted({0, *(mark.step for mark in known.marks)})):
        begins = start == 0 or start in known.states
        if begins:
            chains.append([])
        chains[-1].append(Stretch(start, stop, begins=begins))
    return chains


def chosen(chains: Sequence[Sequence[Stretch]], count: int, *, choice: int) -> list[Sequence[Stretch]]:
    """Return so many stretches, each in its chain: random first ones, or all first ones and what follows on them."""
    if count <= len(chains):
        places = sorted(random.Random(choice).sample(range(len(chains)), count))
        return [chains[place][:1] for place in places]
    # A chain is taken from its beginning, for whoever repeats a stretch has repeated all before it in its chain.
    near = [(depth, place) for place, there in enumerate(chains) for depth in range(len(there))]
    taken = [place for _, place in sorted(near)[:count]]
    return [chains[place][: taken.count(place)] for place in range(len(chains))]


def _repeat(source: Source, stretches: Sequence[Stretch], known: Known) -> Iterator[Judgement]:
    """Yield what came out of stretches that follow each other."""
    left = list(stretches)
    try:
        with repetition(source, known.states.get(left[0].start)) as again:
            while left:
                judgement = compared(source, again, left[0], known.marks, name=NAME)
                yield judgement
                del left[0]
                if judgement.verdict != "proven":
                    break
    except CANNOT_TRAIN as error:
        yield untold(NAME, f"{left[0]}: {one_line(error)}")
        del left[0]
    for stretch in left:
        yield untold(NAME, f"{stretch}: training did not come to its beginning as the run did")
