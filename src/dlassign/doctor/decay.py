"""What pulls every weight to 0 by its gradient: coupled weight decay, and penalties. No torch."""

from __future__ import annotations

from dlassign.config.model import Penalty
from dlassign.config.optim import SGD, Adam, RMSprop
from dlassign.config.run import RunConfig

WEIGHT_DECAY = "optimizer.weight_decay"
_USUAL = 1e-4
"""A weight decay or a coefficient that hardly any net minds."""


def decays(cfg: RunConfig) -> dict[str, float]:
    """Return the gradient of each term that pulls weights to 0, as a multiple of the weight, by the term's key.

    Without decay beside the gradient, as AdamW's, and without penalties whose gradient is no multiple of the weight:
    l1, norms that are not squared, and those of a user's own.
    """
    optimizer, found = cfg.optimizer, {}
    if isinstance(optimizer, SGD | Adam | RMSprop):
        decoupled = isinstance(optimizer, SGD) and optimizer.parametrization == "decoupled"
        # Decoupled rates give the shrinking of a step, which is lr times the gradient.
        found[WEIGHT_DECAY] = optimizer.weight_decay / (optimizer.lr if decoupled else 1.0)
    for place, term in enumerate(cfg.loss.penalty):
        if isinstance(term, Penalty) and term.name == "l2" and term.squared:
            found[_key(place)] = term.coefficient * (1 if term.half else 2)
    return {key: size for key, size in found.items() if size}


def weaker(cfg: RunConfig, *, measured: bool = False) -> tuple[str, str]:
    """Return the key of the term that pulls hardest, and the options that weaken it and all that pull nearly as hard.

    Args:
        cfg: it has at least one such term.
        measured: the pull was measured, so that terms whose size no formula gives may be the cause, too.
    """
    sizes = decays(cfg)
    values = {_key(place): term.coefficient for place, term in enumerate(cfg.loss.penalty)}
    others = [key for key, value in values.items() if value and key not in sizes] if measured else []
    if WEIGHT_DECAY in sizes:
        values[WEIGHT_DECAY] = getattr(cfg.optimizer, "weight_decay", 0.0)
    largest = max(sizes.values(), default=0.0)
    keys = [*(key for key in sorted(sizes, key=lambda key: -sizes[key]) if sizes[key] >= 0.01 * largest), *others]
    return keys[0], " ".join(f"--set {key}={min(_USUAL, values[key] / 10):.3g}" for key in keys)


def _key(place: int) -> str:
    return f"loss.penalty.{place}.coefficient"
