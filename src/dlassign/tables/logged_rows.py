"""What the logs of a table's runs say of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dlassign.store.summary import DAMAGE
from dlassign.sweep.trial import Trial
from dlassign.tables.content import RowRuns
from dlassign.tables.plan import PlannedRow, former_runs, problem_of, records_of
from dlassign.tables.run_values import RunValues, read_values


def logged_row(plan: PlannedRow, failed: Mapping[str, str], *, folder: Path) -> RowRuns:
    """Return the finished runs of a row, and what is wrong with the others.

    failed: why runs failed, by run folder. folder: where the table was written before.
    """
    runs, problems = {}, []
    for trial in plan.trials:
        name = str(trial.paths.root)
        values = _values(plan, trial)
        if isinstance(values, RunValues):
            runs[name] = values
        elif problem := values or failed.get(name) or problem_of(trial):
            problems.append(problem)
    problems += [problem for trial in plan.beside if (problem := problem_of(trial))]
    return RowRuns(
        name=plan.name,
        copy=plan.copy,
        trials=len(plan.trials),
        obstacle=plan.why,
        problem=next(iter(problems), ""),
        runs=runs,
        former=() if runs else tuple(former_runs(plan, folder)),
    )


def _values(plan: PlannedRow, trial: Trial) -> RunValues | str:
    """Return the values of a run, or why its log cannot be read; "" if it is not finished."""
    log = records_of(trial.paths)
    if log is None:
        return ""
    try:
        return read_values(log, plan.row)
    except DAMAGE as error:
        what = f"{trial.paths.log} is damaged: {type(error).__name__}: {error}"
        return f"{what}; remove {trial.paths.root} to train it again"
