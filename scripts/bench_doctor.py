"""Is the doctor right? Planted faults that it should name, and healthy configs of which it should say nothing.

Every case is a config on a subset of a data set, with three seeds. Its probe is measured once and kept in
out/bench_doctor/probes.jsonl, one JSON line each, so that a start goes on where the last one stopped; a probe that was
measured by other code is measured again. The static stage and the rules are computed anew at each start. Half of the
cases, by a checksum of their names, are for choosing thresholds: `--half chosen` lists what is wrong there. The page
has both halves.

Command: python scripts/bench_doctor.py            (an hour or two on two cores; --judge: what is measured already)
Exit:    0 the bounds hold on the half that judges; 1 one does not
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from statistics import median
from typing import Any

from dlassign.config.run import RunConfig
from dlassign.doctor.facts import gather
from dlassign.doctor.finding import CERTAINTIES, Finding, ranked
from dlassign.doctor.probe_rules import probe_findings
from dlassign.doctor.rules import RULES
from dlassign.doctor.static import static_findings
from dlassign.stats.proportion import wilson
from dlassign.train.device import cpu_name
from doctor_cases import ROOT, Case
from doctor_measure import SEEDS, cases, chosen_on, done, key_of, measure, opened, probe_of

OUTPUT = ROOT / "docs" / "benchmarks" / "doctor.md"
LEAST_NAMED, MOST_ALARMED = 0.90, 0.02


@dataclass(frozen=True)
class Judged:
    """What the doctor says of a case with one seed.

    Attributes:
        case, seed: which.
        found: findings of both stages, ranked.
        static: those of the static stage alone, ranked.
        static_seconds, probe_seconds: CPU time of each stage.
    """

    case: Case
    seed: int
    found: list[Finding]
    static: list[Finding]
    static_seconds: float
    probe_seconds: float
    named: bool = field(init=False)
    known: bool = field(init=False)

    def __post_init__(self) -> None:
        right = set(self.case.right)
        object.__setattr__(self, "named", bool(self.found) and self.found[0].rule in right)
        object.__setattr__(self, "known", any(right & {one.rule, *one.swallowed} for one in self.found))

    @property
    def certainty(self) -> str:
        """How sure the surest finding is; none if there is no finding."""
        return self.found[0].certainty if self.found else "none"

    @property
    def by_static(self) -> bool:
        """Whether the static stage alone names it first."""
        return bool(self.static) and self.static[0].rule in self.case.right


def judge(case: Case, seed: int, line: dict[str, Any]) -> Judged:
    """Return what the doctor says, from the numbers of a probe that was measured before."""
    located, raw = opened(case, seed)
    cfg: RunConfig = located.config
    began = time.process_time()
    static = static_findings(gather(cfg, raw=raw))
    seconds = time.process_time() - began
    probed = probe_findings(probe_of(line), cfg)
    return Judged(case, seed, ranked([*static, *probed]), ranked(static), seconds, line["cpu_seconds"])


def judged() -> Iterator[Judged]:
    """Yield every case that has been measured, with each of its seeds."""
    lines = done()
    for case in cases():
        for seed in SEEDS:
            line = lines.get(key_of(case, seed))
            if line is not None and "probe" in line:
                yield judge(case, seed, line)


def of_half(found: Sequence[Judged], half: str, *, faults: bool) -> list[Judged]:
    """Return the cases of a half that have a fault, or that have none."""
    return [one for one in found if chosen_on(one.case) == (half == "chosen") and bool(one.case.right) == faults]


def share(count: int, n: int) -> str:
    """Return a share with its 95 % interval."""
    if not n:
        return "-"
    low, high = wilson(count / n, n)
    return f"{count} of {n}, {count / n:.1%} ({low:.1%} to {high:.1%})"


def totals(found: Sequence[Judged]) -> list[str]:
    """Return the table of both halves."""
    halves = {
        half: (of_half(found, half, faults=True), of_half(found, half, faults=False)) for half in ("chosen", "judging")
    }
    rows = [
        ("faults named first", lambda f, h: share(sum(one.named for one in f), len(f))),
        ("faults named first by the static stage alone", lambda f, h: share(sum(one.by_static for one in f), len(f))),
        ("faults found at all", lambda f, h: share(sum(one.known for one in f), len(f))),
        *(
            (f"healthy with a {name} finding first", lambda f, h, name=name: share(_of(h, name), len(h)))
            for name in CERTAINTIES
        ),
        (
            "healthy with a certain or likely finding",
            lambda f, h: share(_of(h, "certain") + _of(h, "likely"), len(h)),
        ),
        ("healthy with any finding, a hint or more", lambda f, h: share(len(h) - _of(h, "none"), len(h))),
    ]
    lines = ["| | half that thresholds were chosen on | half that judges |", "|---|---|---|"]
    for name, cell in rows:
        lines.append(f"| {name} | {cell(*halves['chosen'])} | {cell(*halves['judging'])} |")
    return lines


def _of(found: Sequence[Judged], certainty: str) -> int:
    return sum(one.certainty == certainty for one in found)


def by_fault(found: Sequence[Judged]) -> list[str]:
    """Return a row for each kind of fault: how often it was named first, on which net, and what was named instead."""
    lines = ["| fault | right | named first | found | named instead |", "|---|---|---|---|---|"]
    names = dict.fromkeys(one.case.name for one in found if one.case.right)
    for name in names:
        own = [one for one in found if one.case.name == name and one.case.right]
        instead = Counter(
            f"{one.found[0].rule if one.found else 'nothing'} ({one.case.net})" for one in own if not one.named
        )
        wrong = ", ".join(f"{what} {count}" for what, count in instead.most_common()) or "-"
        right = ", ".join(f"`{rule}`" for rule in own[0].case.right)
        lines.append(
            f"| {name} | {right} | {sum(o.named for o in own)} of {len(own)} | {sum(o.known for o in own)} | {wrong} |"
        )
    return lines


def alarms(found: Sequence[Judged]) -> list[str]:
    """Return a row for each healthy config that got more than a hint."""
    lines = ["| config | half | seeds | finding | measured |", "|---|---|---|---|---|"]
    wrong = [one for one in found if not one.case.right and one.certainty in ("certain", "likely")]
    for key in dict.fromkeys(one.case.key for one in wrong):
        own = [one for one in wrong if one.case.key == key]
        first = own[0].found[0]
        half = "chosen" if chosen_on(own[0].case) else "judging"
        lines.append(f"| {key} | {half} | {len(own)} | {first.certainty}: `{first.rule}` | {first.statistic} |")
    return lines if len(lines) > 2 else ["No healthy config got more than a hint."]


def hints(found: Sequence[Judged]) -> str:
    """Return how often each rule gave a hint as the first finding of a healthy config."""
    counted = Counter(one.found[0].rule for one in found if not one.case.right and one.certainty == "hint")
    return ", ".join(f"`{rule}` {count}" for rule, count in counted.most_common()) or "none"


TEXT = """\
# Is the doctor right?

Written by `scripts/bench_doctor.py`. A tool that finds every fault and alarms on healthy nets, too, is useless. In the
published logs of three tools, healthy models get a warning so often: DeepDiagnosis (Wardat and others, 2022) 68 of 188,
36 %; DeepLocalize (Wardat and others, 2021) 133 of 186, 72 %; UMLAUT (Schoop and others, 2021) 103 of 103. They ran on
other models than those here, and say nothing of how sure they are. So both are counted here, and false alarms by how
sure the doctor is; what compares with theirs is the row of any finding, hints too.

* **Planted faults**: {kinds} kinds on three nets and data sets, where a net can have the fault: {n_faults} cases.
  `numpy_digits` is an MLP in NumPy on the digits, `mlp_mnist` an MLP with batch normalisation on 2,500 images of MNIST,
  `vgg_cifar` a small VGG-style net on 2,500 JPEGs of CIFAR-10. A fault counts as named where the first finding has its
  name.
* **Healthy configs**: {n_healthy} cases. They are those that we ship as far as their data is here and 200 steps take
  seconds, on small subsets and with as many steps as on all samples (CIFAR-10 from its JPEGs); variations of the three
  nets; and nets that are merely mediocre. Left out are those that teach a fault, and four that repeat a fault of their
  report: two softmaxes, and three nets that predict one class, as their headers say. Four lessons and one of these nets
  were counted as healthy when they were new, and then were most of the alarms: they were left out after that was seen.
* **Seeds**: {seeds} for each case, of weights, batches and the subset. {missing}
* **Not counted**: the {log_rules} rules that read the log of a run; these are the static stage and the probe alone.
* **Two halves**: a checksum of its name puts each case into one of two halves. Thresholds of the probe were chosen on
  one half; the other one judges. Those of the static stage were chosen by its author, from arithmetic and from configs
  that he tried, shipped ones among them, so that for this stage the halves are not as separate.
* **What was changed after the first judgement**: with two seeds, the half that judges had 73 of 83 faults named first,
  and 9 of 96 healthy ones with more than a hint. Then two lines were added to the table of which finding explains
  which: dead units explain vanishing gradients, and batch normalisation of 2 samples explains a rate that seems too
  large. Shipped configs got as many steps as on all samples, and the three with a fault of their report were left out.
  That made 98 of 106 (92.5 %) and 1 of 130. After that the static stage got rules of its own for nets with a norm,
  whose author had these cases at hand, of both halves; and on the half for choosing, what the probe finds in the first
  loss became a hint where the net learns. So the half that judges is not unseen any more for the static stage, and
  faults of other kinds will be named less often than these.

## Figures

In brackets the 95 % interval of Wilson. Seeds of one case are no independent cases, so the truth may lie further out.

{totals}

Bounds, on the half that judges: at least {least:.0%} of the faults named first: **{held}**; at most {most:.0%} of the
healthy ones with a certain or likely finding: **{quiet}**.

| CPU seconds | median | largest |
|---|---|---|
| static stage | {static_median:.2f} | {static_most:.2f} |
| probe, with reading and preparing the data | {probe_median:.1f} | {probe_most:.1f} |

## Faults, one kind a row

{faults}

## Healthy configs with more than a hint

{alarms}

Hints as the first finding of a healthy config: {hints}.

| | |
|---|---|
{facts}
"""


def missing() -> str:
    """Return how many cases are not judged, and why; "" if none is."""
    lines = done()
    keys = {key_of(case, seed): f"{case.key}, seed {seed}" for case in cases() for seed in SEEDS}
    errors = [f"{name} ({lines[key]['error']})" for key, name in keys.items() if "error" in lines.get(key, {})]
    lacking = sum(key not in lines for key in keys)
    return " ".join(
        [
            *([f"{lacking:,} of {len(keys):,} have not been measured."] if lacking else []),
            *([f"No probe could be taken of {len(errors)}: {'; '.join(errors)}."] if errors else []),
        ]
    )


def page(found: Sequence[Judged]) -> str:
    """Return the page as Markdown."""
    faults = [one for one in found if one.case.right]
    healthy = [one for one in found if not one.case.right]
    named, quiet = _bounds(found)
    facts = {
        "Command": "`python scripts/bench_doctor.py`",
        "Machine": f"{cpu_name()}, {os.cpu_count()} cores, shared with other work",
        "Versions": f"Python {platform.python_version()}, torch {version('torch')}, NumPy {version('numpy')}",
        "Date": datetime.now().strftime("%Y-%m-%d"),
    }
    return TEXT.format(
        kinds=len({one.case.name for one in faults}),
        n_faults=len({one.case.key for one in faults}),
        n_healthy=len({one.case.key for one in healthy}),
        seeds=len(SEEDS),
        missing=missing(),
        log_rules=sum("log" in rule.stages for rule in RULES.values()),
        totals="\n".join(totals(found)),
        least=LEAST_NAMED,
        most=MOST_ALARMED,
        held="holds" if named else "does not hold",
        quiet="holds" if quiet else "does not hold",
        static_median=median(one.static_seconds for one in found),
        static_most=max(one.static_seconds for one in found),
        probe_median=median(one.probe_seconds for one in found),
        probe_most=max(one.probe_seconds for one in found),
        faults="\n".join(by_fault(found)),
        alarms="\n".join(alarms(found)),
        hints=hints(found),
        facts="\n".join(f"| {key} | {value} |" for key, value in facts.items()),
    )


def _bounds(found: Sequence[Judged]) -> tuple[bool, bool]:
    faults, healthy = of_half(found, "judging", faults=True), of_half(found, "judging", faults=False)
    named = sum(one.named for one in faults) >= LEAST_NAMED * len(faults)
    return named, _of(healthy, "certain") + _of(healthy, "likely") <= MOST_ALARMED * len(healthy)


def wrong(found: Sequence[Judged]) -> Iterator[str]:
    """Yield a line for each case of the half for choosing in which the doctor is wrong."""
    for one in found:
        if chosen_on(one.case) and not (one.named if one.case.right else one.certainty in ("hint", "none")):
            said = ", ".join(f"{f.rule} ({f.certainty}: {f.statistic})" for f in one.found) or "nothing"
            yield f"{one.case.key}#{one.seed}: {said}"


def main() -> int:
    """Measure what is left, judge, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", action="store_true", help="measure nothing")
    parser.add_argument("--half", choices=["chosen"], help="list what is wrong in the half for choosing, write nothing")
    options = parser.parse_args()
    if not (options.judge or options.half):
        measure()
    found = list(judged())
    if options.half:
        print("\n".join(wrong(found)))
        return 0
    OUTPUT.write_text(page(found))
    return 0 if all(_bounds(found)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
