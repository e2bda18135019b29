"""What is wrong with a config, or with a run: every stage of the doctor that there is for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlassign.config.load import Located, load_located, placing
from dlassign.doctor.facts import Facts, gather
from dlassign.doctor.finding import Finding, ranked
from dlassign.doctor.log_rules import log_findings
from dlassign.doctor.rules import Stage
from dlassign.doctor.static import static_findings
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.parts.run_code import copied_code
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.summary import DAMAGE


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        what: the config or the run, as the user named it.
        findings: all that none of the others explains, the surest first.
        stages: where was looked.
        notes: what could not be looked at, and why, one sentence each.
        located: the config, for the lines that findings are about; None if it could not be read.
    """

    what: str
    findings: tuple[Finding, ...]
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()
    located: Located | None = None


def diagnose_config(located: Located, what: str, *, steps: bool = True) -> Diagnosis:
    """Return what is wrong with a config.

    Args:
        located: the config.
        what: as the user named it.
        steps: take the first steps of a training, too, in memory; that takes up to a minute.

    Raises:
        ConfigError: it does not fit its data.
    """
    found, facts = _static(located)
    # Without its data, or without a step after the warm-up, nothing can be trained.
    if not steps or facts.measured is None or facts.plan is None:
        return _diagnosis(what, found, stages=("static",), located=located, notes=facts.notes)
    from dlassign.doctor.probe import probe  # imports torch
    from dlassign.doctor.probe_rules import probe_findings

    try:
        with placing(located):
            found += probe_findings(probe(located.config), located.config)
    except UserError as error:  # such as pretrained weights that are not there
        notes = (*facts.notes, f"no steps were taken: {error}")
        return _diagnosis(what, found, stages=("static",), located=located, notes=notes)
    return _diagnosis(what, found, stages=("static", "probe"), located=located, notes=facts.notes)


def diagnose_run(paths: RunPaths, *, trust: bool) -> Diagnosis:
    """Return what is wrong with a run, by its config and its log; it may still be training.

    Args:
        paths: of the run.
        trust: let the code in its folder run, if it has parts of its user's own.

    Raises:
        UserError: there is no log, or it is damaged.
    """
    records = read_records(paths.log)
    try:
        found = log_findings(records)
    except DAMAGE as error:  # such as confusion counts with rows of different lengths
        raise UserError(f"{paths.log} is damaged: {type(error).__name__}: {error}") from error
    what, notes = str(paths.root), tuple(records.warnings)
    try:
        located = run_config(paths, trust=trust)
        of_config, facts = _static(located)
    except (ConfigError, UserError) as error:
        notes += (f"only the log was looked at: {error}",)
        return _diagnosis(what, found, stages=("log",), notes=notes)
    return _diagnosis(what, [*of_config, *found], stages=("static", "log"), located=located, notes=notes + facts.notes)


def _static(located: Located) -> tuple[list[Finding], Facts]:
    with placing(located):
        facts = gather(located.config)
    return static_findings(facts), facts


def run_config(
    paths: RunPaths, overrides: Sequence[str] = (), seed: int | None = None, *, trust: bool = False
) -> Located:
    """Return the config of a run, with overrides and another seed.

    trust: as of diagnose_run.

    Raises:
        ConfigError: it cannot be read, or an override is wrong.
        UserError: its code is not trusted, or was edited.
    """
    config = read_records(paths.log).start["config"]
    return load_located(paths.config, overrides, seed=seed, code=copied_code(paths.code, config, trust=trust))


def _diagnosis(
    what: str,
    found: list[Finding],
    *,
    stages: tuple[Stage, ...],
    located: Located | None = None,
    notes: tuple[str, ...] = (),
) -> Diagnosis:
    findings = tuple(replace(finding, place=_place(located, finding.key)) for finding in ranked(found))
    return Diagnosis(what=what, findings=findings, stages=stages, notes=notes, located=located)


def _place(located: Located | None, key: str) -> str | None:
    if located is None or not key:
        return None
    found = located.place(Problem(message="", path=key))
    return f"{found.file}:{found.line}:{found.column}" if found.line else None
