"""What `dlassign compare` prints: a table and plain sentences, or JSON."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dlassign.config.values import value_text
from dlassign.stats.text import wrapped
from dlassign.tables.comparison import GOAL, SIGNIFICANT, ComparedGroup, Comparison, Figures, Versus
from dlassign.tables.table_format import comment, csv_text, formatted

_MOST_KEYS = 8
_CSV = ("letter", "group", "n", "mean", "sd", "low", "high")
_WIDEST = 110


def comparison_text(found: Comparison, how: str = "text") -> str:
    """Return the whole output of a comparison.

    how: text; or csv, the table of the groups alone; or markdown; or latex, where sentences are comments.
    """
    if how == "csv":
        groups_of = comparison_json(found)["groups"]
        return csv_text({key: [group[key] for group in groups_of] for key in _CSV})
    groups = found.groups
    comparisons = found.against_first
    figures = found.figures
    unit = " in percent" if figures.metric == "accuracy" else ""
    parts = [f"{figures.split} {figures.metric}{unit} at the end of each run", _table(groups, figures, how)]
    marks = [f"* {mark}" for one in groups for mark in one.marks]
    asides = [note for one in groups for note in _asides(one)]
    if marks or asides:
        parts.append("\n".join(_wrapped(line, "  " if line in marks else "") for line in [*marks, *asides]))
    tests = sum(versus.p is not None for versus in comparisons)
    parts += [_versus(versus, figures, tests=tests, count=len(comparisons)) for versus in comparisons]
    if how == "latex":
        return "\n".join([comment(parts[0]), parts[1], *map(comment, parts[2:])])
    return "\n\n".join(parts)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds in short: `0-2, 5`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _table(groups: Sequence[ComparedGroup], figures: Figures, how: str) -> str:
    columns = {
        "": [one.letter for one in groups],
        "group": [one.group.place for one in groups],
        "runs": [str(one.interval.n) for one in groups],
        "seeds": [seeds_text(list(one.values)) for one in groups],
        "mean": [figures.text(one.interval.mean) + ("*" if one.marks else " ") for one in groups],
        "sd": ["-" if one.interval.sd is None else figures.text(one.interval.sd) for one in groups],
        "95 % interval": [figures.between(one.interval.low, one.interval.high) for one in groups],
    }
    samples = [one.sampling for one in groups]
    if any(samples):
        columns["Wilson interval"] = [figures.between(*(found or (None, None))) for found in samples]
    if any(one.diverged for one in groups):
        columns["diverged"] = [str(len(one.diverged)) for one in groups]
    return formatted(columns, how, left=("group", "seeds", "95 % interval", "Wilson interval"))


def _asides(one: ComparedGroup) -> list[str]:
    """Return which runs of a group do not count, and why it has no interval."""
    lines = []
    if one.diverged:
        names = ", ".join(run.run for run in one.diverged)
        total = len(one.diverged) + len(one.counted)
        lines.append(
            f"{one.letter}: {len(one.diverged)} of {total} runs diverged ({names}); the mean is that of the others."
        )
    if one.left_out:
        lines.append(f"{one.letter}: left out: {', '.join(f'{run.run} ({why})' for run, why in one.left_out)}.")
    if one.interval.why:
        lines.append(f"{one.letter} has no interval: {one.interval.why}.")
    if one.group.rank is not None and one.group.rank.confirmed:
        lines.append(f"{one.letter}: only its runs on fresh seeds, which had no part in the ranking.")
    return lines


def _versus(versus: Versus, figures: Figures, *, tests: int, count: int) -> str:
    found, a, b = versus.found, versus.a.letter, versus.b.letter
    head = f"{b} - {a}:  {figures.difference(found.difference, '+')}"
    if found.low is not None and versus.p is not None:
        corrected = f" (Holm's correction for {tests} tests)" if tests > 1 else ""
        head += f"   95 % interval {figures.between(found.low, found.high, '+')}   {p_text(versus.p)}{corrected}"
    lines = [
        _method(versus, figures),
        _verdict(versus, figures),
        _needs(versus, figures, count),
        _keys(versus),
        *versus.notes,
    ]
    return "\n".join([_wrapped(head, "  "), *(_wrapped(line, "  ", "  ") for line in lines if line)])


def p_text(p: float) -> str:
    """Return a p value in as many digits as mean something."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def _method(versus: Versus, figures: Figures) -> str:
    found, a, b = versus.found, versus.a.letter, versus.b.letter
    if found.method == "paired":
        out = [f"{seeds_text(seeds)} of {letter}" for letter, seeds in ((a, found.only_a), (b, found.only_b)) if seeds]
        if not out:
            return f"Paired: both have the seeds {seeds_text(found.pairs)}."
        means = " and ".join(f"{letter} {figures.text(mean)}" for letter, mean in zip((a, b), found.means, strict=True))
        left = f"left out, as the other has no such seed: {' and '.join(out)}"
        return f"Paired: both have the seeds {seeds_text(found.pairs)}, whose means are {means}; {left}."
    if found.pairs and not (found.only_a or found.only_b):
        return f"One run each, both of seed {seeds_text(found.pairs)}."
    common = f"only seed {seeds_text(found.pairs)} is in both" if found.pairs else "no seed is in both"
    if len(found.pairs) > 1:
        common = f"too few of the seeds are in both ({seeds_text(found.pairs)})"
    return f"Unpaired{'' if versus.p is None else ' (Welch, over all seeds)'}, since {common}."


def _verdict(versus: Versus, figures: Figures) -> str:
    a, b, p = versus.a.letter, versus.b.letter, versus.p
    if p is None:
        return f"Whether this is chance cannot be said: {versus.found.why}."
    share = f"chance alone sets equals this far apart in {_percent(p)} of comparisons."
    if p > SIGNIFICANT:
        return f"{a} and {b} cannot be told apart: {share}"
    better = (versus.found.difference > 0) == (figures.metric == "accuracy")
    return f"{b} is {'better' if better else 'worse'} than {a}: {share}"


def _percent(share: float) -> str:
    return "less than 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _needs(versus: Versus, figures: Figures, count: int) -> str:
    seeds = versus.seeds
    if seeds.needed is None:
        return "" if seeds.why == versus.found.why else f"Seeds needed: {seeds.why}."
    level = f" at the {100 * SIGNIFICANT / count:.2g} % level" if count > 1 else ""
    effect = f"{figures.difference(seeds.effect)}{level} with {100 * GOAL:.0f} % power"
    text = f"To see {effect} needs {seeds.needed} seeds each, "
    if seeds.missing_a == seeds.missing_b:
        n = seeds.missing_a
        return f"{text}{'none is missing' if n == 0 else '1 is missing' if n == 1 else f'{n} are missing'}."
    missing = ((versus.a.letter, seeds.missing_a), (versus.b.letter, seeds.missing_b))
    return f"{text}missing: {' and '.join(f'{n} of {letter}' for letter, n in missing if n)}."


def _keys(versus: Versus) -> str:
    a, b, keys = versus.a.letter, versus.b.letter, versus.keys
    if not keys:
        return f"The configs of {a} and {b} differ in nothing but {_other_names(versus)}."
    shown = [f"{key}: {value_text(left)} | {value_text(right)}" for key, (left, right) in keys.items()]
    more = f"; and {len(shown) - _MOST_KEYS} more" if len(shown) > _MOST_KEYS else ""
    listed = "; ".join(shown[:_MOST_KEYS]) + more
    if len(keys) == 1:
        return f"{a} and {b} differ in {listed}."
    return f"{a} and {b} differ in {len(keys)} keys, and the difference belongs to all of them together: {listed}."


def _other_names(versus: Versus) -> str:
    """Return what tells two groups apart that ask for the same experiment."""
    a, b = versus.a, versus.b
    if set(a.values) & set(b.values):  # compared are runs of one seed
        return "the name"
    return "the seed" if a.group.config.get("name") == b.group.config.get("name") else "the name and the seed"


def _wrapped(text: str, after: str, first: str = "") -> str:
    return wrapped(first + text, after=after, width=min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Return what `--json` prints: as the text, but accuracies are 0..1."""
    return {
        "split": found.figures.split,
        "metric": found.figures.metric,
        "level": 0.95,
        "power": GOAL,
        "groups": [_compared_json(one) for one in found.groups],
        "comparisons": [
            {
                "a": versus.a.letter,
                "b": versus.b.letter,
                **asdict(versus.found),
                "p_corrected": versus.p,
                "correction": "holm" if len(found.against_first) > 1 else None,
                "seeds": asdict(versus.seeds),
                "keys": versus.keys,
                "notes": list(versus.notes),
            }
            for versus in found.against_first
        ],
    }


def _compared_json(one: ComparedGroup) -> dict[str, Any]:
    return {
        "letter": one.letter,
        "group": one.group.place,
        "runs": [
            {"run": run.run, "seed": seed, "value": one.values[seed]}
            for seed, run in zip(one.values, one.counted, strict=True)
        ],
        **asdict(one.interval),
        "sampling_interval": one.sampling,
        "diverged": [run.run for run in one.diverged],
        "left_out": [{"run": run.run, "why": why} for run, why in one.left_out],
        "marks": list(one.marks),
    }
