"""What is wrong with a config, or with a run: every stage of the doctor that there is for it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dlassign.config.load import Located, load_located, placing
from dlassign.doctor.facts import Facts, gather
from dlassign.doctor.finding import Finding, ranked
from dlassign.doctor.log_rules import log_findings
from dlassign.doctor.rules import Stage
from dlassign.doctor.static import static_findings
from dlassign.errors import ConfigError, DlassignError, Problem, UserError
from dlassign.parts.run_code import copied_code
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.summary import DAMAGE

Load = Callable[[Sequence[str], int | None], Located]
"""Called with further overrides and a seed, or None for that of the config: gives the config with both."""


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


def diagnose_config(load: Load, what: str, *, steps: bool = True) -> Diagnosis:
    """Return what is wrong with a config.

    Args:
        load: gives the config.
        what: as the user named it.
        steps: take the first steps of a training, too, in memory; that takes up to a minute.

    Raises:
        ConfigError: it is wrong, or does not fit its data.
    """
    located = load([], None)
    found, facts = _static(located)
    tell = partial(_diagnosis, what, located=located, load=load)
    # Without its data, or without a step after the warm-up, nothing can be trained.
    if not steps or facts.measured is None or facts.plan is None:
        return tell(found, stages=("static",), notes=facts.notes)
    from dlassign.doctor.probe import probe  # imports torch
    from dlassign.doctor.probe_rules import probe_findings

    try:
        with placing(located):
            measured = probe(located.config)
    except UserError as error:  # such as pretrained weights that are not there
        notes = (*facts.notes, f"no steps were taken: {error}")
        return tell(found, stages=("static",), notes=notes)
    found += probe_findings(measured, located.config)
    return tell(found, stages=("static", "probe"), notes=(*facts.notes, *measured.notes()))


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
    load = partial(run_config, paths, trust=trust)
    try:
        located = load([], None)
        of_config, facts = _static(located)
    except (ConfigError, UserError) as error:
        notes += (f"only the log was looked at: {error}",)
        return _diagnosis(what, found, stages=("log",), notes=notes)
    found, notes = [*of_config, *found], notes + facts.notes
    return _diagnosis(what, found, stages=("static", "log"), located=located, load=load, notes=notes)


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
    load: Load | None = None,
    notes: tuple[str, ...] = (),
) -> Diagnosis:
    findings = tuple(
        replace(finding, place=_place(located, finding.key), cure=_cure(located, load, finding.cure))
        for finding in ranked(found)
    )
    return Diagnosis(what=what, findings=findings, stages=stages, notes=notes, located=located)


def _cure(located: Located | None, load: Load | None, cure: str) -> str:
    """Return a cure, or "" if the config does not take it or has it already; without a config it stays."""
    if not cure or located is None or load is None:
        return cure
    try:
        cured = load(overrides_of(cure), None)
    except DlassignError:
        return ""
    return cure if cured.config != located.config else ""


def overrides_of(cure: str) -> list[str]:
    """Return what stands behind each --set of a cure."""
    return shlex.split(cure)[1::2]


def _place(located: Located | None, key: str) -> str | None:
    if located is None or not key:
        return None
    found = located.place(Problem(message="", path=key))
    return f"{found.file}:{found.line}:{found.column}" if found.line else None
