"""What a check of the data set found, as findings of the doctor."""

from __future__ import annotations

from collections.abc import Iterator

from dlassign.data_checks.classes import class_counts, class_shares
from dlassign.data_checks.columns import leaking_columns
from dlassign.data_checks.flaw import Flaw, causes
from dlassign.data_checks.shared_samples import shared_samples
from dlassign.data_checks.values import unlike_train
from dlassign.doctor.facts import Measured
from dlassign.doctor.finding import Certainty, Finding

LARGEST = 2**27
"""Bytes of samples among which equal ones are looked for within a second; of more, `dlassign data check` tells."""
_RULES: dict[tuple[str, str], tuple[str, Certainty]] = {
    ("equal_across", "alarm"): ("leak", "certain"),
    ("two_labels", "alarm"): ("two_labels", "certain"),
    ("order_by_class", "alarm"): ("sorted_split", "certain"),
    ("class_shares", "alarm"): ("sorted_split", "likely"),
    ("class_shares", "warning"): ("unlike_train", "hint"),
    ("changed_split", "alarm"): ("unlike_train", "certain"),
    ("unlike_train", "warning"): ("unlike_train", "hint"),
    ("leaking_column", "alarm"): ("leaking_column", "likely"),
    ("leaking_column", "warning"): ("leaking_column", "hint"),
}
"""By kind and level of a flaw of the data: the rule, and how sure it is. Others do not keep a net from learning."""
_KEYS = {"leaking_column": "data.drop", "sorted_split": "data.split.by"}
_NULLS = {
    "leak": "0",
    "two_labels": "0",
    "sorted_split": "what chance gives: chi-squared about its degrees of freedom",
    "unlike_train": "splits that are drawn from one population",
    "leaking_column": "as many as the other columns",
}


def checked_findings(measured: Measured, *, by: str) -> Iterator[Finding]:
    """Yield what is wrong with the data set itself.

    Args:
        measured: the data.
        by: how it was split, `data.split.by`.
    """
    dataset = measured.dataset
    found: list[Flaw] = [
        *class_shares(dataset, class_counts(dataset), by=by),
        *unlike_train(dataset),
        *leaking_columns(dataset),
    ]
    if sum(split.x.nbytes for split in dataset.splits.values()) <= LARGEST:
        found += shared_samples(dataset)[0]
    for flaw in causes(found):
        rule, certainty = _RULES.get((flaw.kind, flaw.level), ("", "hint"))
        if rule:
            yield _as_ours(flaw, rule, certainty)


def _as_ours(flaw: Flaw, rule: str, certainty: Certainty) -> Finding:
    cure = ""
    if rule == "sorted_split":
        cure = "--set data.split.by=stratified"
    elif rule == "leaking_column" and "data.drop: " in flaw.cure:
        cure = f"--set 'data.drop={flaw.cure.partition('data.drop: ')[2]}'"
    counts = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in flaw.counts.items())
    return Finding(
        rule=rule,
        certainty=certainty,
        key=_KEYS.get(rule, "data"),
        why=flaw.text,
        statistic=counts,
        null=_NULLS[rule],
        cure=cure,
        advice=flaw.cure,
    )
