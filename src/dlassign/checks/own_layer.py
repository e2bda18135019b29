"""A user's own layer is checked at the values given, and at others where those could hide a mistake.

A backward that forgets a factor, or squares it, is right where the factor is 1; one that forgets a term is right where
its coefficient is 0; and 2 x is the derivative of x^n for n = 2 alone. So an argument of 0, 1 or 2, given or by
default, gets another value once. And a slope that is wrong for large x only, as beyond the clip of ReLU6, shows in an
input that is several times as large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlassign.checks.gradients import CheckedGradient, check_layer
from dlassign.checks.user_layer import build_layer, build_peer, parameters
from dlassign.errors import DlassignError

TELLING = {0: (0.3, 3), 1: (0.7, 3), -1: (-0.7, -3), 2: (1.7, 3)}
"""What is tried in place of a number; the whole number where the layer does not take the other, as for a size."""
LARGE = 8.0
"""How many times as large the other input is."""


def check_own(
    cls: type[Any], arguments: Mapping[str, Any], *, shape: tuple[int, ...], peer: type[Any] | None, seed: int
) -> tuple[list[CheckedGradient], list[str]]:
    """Check the gradients of a layer at the arguments given; if they are right, also at telling values.

    Args:
        cls: the layer.
        arguments: of its constructor.
        shape: of the input.
        peer: the same in PyTorch, or None.
        seed: of input and parameters.

    Returns:
        A row for each tensor and form, and a sentence on each value that could not be varied.

    Raises:
        ConfigError: a constructor does not take the arguments.
        UserError: the layer breaks a rule of layers, or the peer has other parameters.
    """
    rows = check_built(cls, arguments, shape=shape, peer=peer, seed=seed)
    alone: list[str] = []
    if not all(row.ok for row in rows):
        return rows, alone
    for name, value in _doubtful(cls, arguments):
        # A peer without this argument computes what the layer computes at the old value.
        other_peer = peer if peer is not None and name in parameters(peer) else None
        forms = [{**arguments, name: other} for other in TELLING[value]]
        found, why = _first_that_works(cls, forms, shape=shape, peer=other_peer, seed=seed)
        rows += found
        if not found:
            alone.append(f"{name} was tried at {value} alone, which can hide a factor; another value fails: {why}")
    found, why = _first_that_works(cls, [arguments], shape=shape, peer=peer, seed=seed, scale=LARGE)
    rows += found
    if not found:
        alone.append(f"large x was not tried; it fails: {why}")
    return rows, alone


def check_built(
    cls: type[Any],
    arguments: Mapping[str, Any],
    *,
    shape: tuple[int, ...],
    peer: type[Any] | None,
    seed: int,
    scale: float = 1.0,
) -> list[CheckedGradient]:
    """Build a layer and its peer and check the gradients; the input is `scale` times as large as usual."""
    rng = np.random.default_rng(seed)
    layer = build_layer(cls, arguments, rng=rng)
    module = None if peer is None else build_peer(peer, arguments, seed=seed)
    words = [f"{key} {value}" for key, value in arguments.items()] + ["large x"] * (scale != 1)
    return check_layer(layer, cls.__name__, form=", ".join(words), shape=shape, peer=module, rng=rng, scale=scale)


def _doubtful(cls: type[Any], arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the arguments, given or by default, whose value can hide a mistake."""
    for name, value in {**parameters(cls), **arguments}.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and value in TELLING:
            yield name, value


def _first_that_works(
    cls: type[Any], forms: Sequence[Mapping[str, Any]], **options: Any
) -> tuple[list[CheckedGradient], str]:
    """Return what was found for the first arguments that the layer takes, or nothing and why it takes none."""
    why = ""
    for arguments in forms:
        try:
            # A root or a power that the layer is not made for is one more reason why a value is not taken.
            with np.errstate(all="ignore"):
                return check_built(cls, arguments, **options), ""
        except DlassignError as error:
            why = why or str(error).splitlines()[0]
    return [], why
