"""What a config amounts to, and what training would lack, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlassign.config.data import CSVTable, OwnData
from dlassign.config.load import Located, placing
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Raw
from dlassign.data.load import require_data
from dlassign.errors import UserError

if TYPE_CHECKING:
    from dlassign.checks.shapes import Fit


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A config that is right.

    Attributes:
        cfg: the config.
        fit: what it amounts to on its data.
        lacks: why it cannot be trained yet, such as data that is not there; None if it can.
    """

    cfg: RunConfig
    fit: Fit
    lacks: UserError | None

    @property
    def line(self) -> str:
        """What it amounts to, in one line."""
        cfg, info = self.cfg, self.fit.info
        params = "?" if self.fit.n_params is None else f"{self.fit.n_params:,}"
        sizes = f"{info.n_train:,} train, {info.n_val:,} val, {info.n_test:,} test"
        model = f"{cfg.model.name} with {params} parameters"
        # A table must be read to know its classes, and a source of the user's own called.
        read = "" if isinstance(cfg.data, CSVTable | OwnData) else "; data not read"
        return f"ok: {model} on {cfg.data.name} ({sizes}), {self.fit.plan.steps:,} steps{read}"


def check_config(located: Located, *, raw: Raw | None = None) -> Checked:
    """Return what a config amounts to; raw: the samples of `data: {name: arrays}`.

    Raises:
        ConfigError: it does not fit its data; every problem has its place.
        DataError: not even the headers of the data can be read.
    """
    from dlassign.checks.shapes import check_fit
    from dlassign.train.given_back import by_itself
    from dlassign.train.warm_start import check_weights

    cfg = located.config
    with placing(located), by_itself():
        fit = check_fit(cfg, raw=raw)
        try:
            require_data(cfg.data)
            check_weights(cfg.init, cfg=cfg.model)
        except UserError as error:
            return Checked(cfg=cfg, fit=fit, lacks=error)
        return Checked(cfg=cfg, fit=fit, lacks=None)
