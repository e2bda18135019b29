"""What each kind of own part takes and gives: the one table that config, checks and messages go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a kind of own part is.

    Attributes:
        given: what dlassign gives it by position, before the keys of the config.
        gives: what it returns, for messages.
        by_class: what the class gets by position where a class may stand in place of a function; None: the same.
        by_name: what it gets by name if it takes it; no keys of a config.
    """

    given: tuple[str, ...]
    gives: str
    by_class: tuple[str, ...] | None = None
    by_name: tuple[str, ...] = ()

    def form(self, name: str) -> str:
        """Return how one is written, such as "`def net(in_shape, n_classes):`, which returns a torch.nn.Module"."""
        keys = "keys of yours follow a star, such as `*, width: int = 32`"
        return f"`def {name}({', '.join(self.given)}):`, which returns {self.gives}; {keys}"

    def form_of_class(self, name: str) -> str:
        """Return how a class is written."""
        given = self.given if self.by_class is None else self.by_class
        return f"`class {name}:` with `def __init__({', '.join(('self', *given))}):`; keys of yours follow a star there"


KINDS: Mapping[str, Kind] = {
    "activation": Kind(given=("x",), gives="y, like x", by_class=(), by_name=("rng", "dtype")),
    "augment": Kind(given=("images", "generator"), gives="images", by_class=()),
    "data": Kind(given=(), gives="(x, y), or {'train': (x, y), 'test': (x, y)}"),
    "loss": Kind(given=("scores", "y"), gives="the mean loss", by_class=()),
    "metric": Kind(given=("scores", "y"), gives="a number", by_class=()),
    "model": Kind(given=("in_shape", "n_classes"), gives="a torch.nn.Module"),
    "norm": Kind(given=("num_features",), gives="a layer", by_name=("rng", "dtype")),
    "optimizer": Kind(given=("params", "lr"), gives="a torch.optim.Optimizer"),
    "penalty": Kind(given=("params",), gives="a number", by_class=()),
    "preprocess": Kind(given=("x",), gives="an array with a row or an image for each sample", by_class=()),
    "schedule": Kind(given=("step", "total"), gives="the factor on the learning rate", by_class=()),
}
"""The kinds by the names under which the families of the config know them; see `config/own_part.py: OrOwn`."""
