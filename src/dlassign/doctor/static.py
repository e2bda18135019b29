"""The first stage: what config, shapes and data give away without a step of training. No torch."""

from __future__ import annotations

from dlassign.doctor.facts import Facts
from dlassign.doctor.finding import Finding
from dlassign.doctor.static_data import data_findings
from dlassign.doctor.static_model import model_findings
from dlassign.doctor.static_optimizer import optimizer_findings
from dlassign.doctor.static_start import start_findings


def static_findings(facts: Facts) -> list[Finding]:
    """Return what is wrong with a config, in no order."""
    return [
        *model_findings(facts),
        *optimizer_findings(facts),
        *start_findings(facts),
        *data_findings(facts),
    ]
