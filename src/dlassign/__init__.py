"""dlassign: image-classification experiments from a YAML file.

    import dlassign as dl

    run = dl.train("configs/quickstart.yaml", set={"optimizer.lr": 0.003}, seed=1)
    run.test.accuracy

The names in `__all__` are all that is public.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from dlassign.api.check import check
    from dlassign.api.compare import compare
    from dlassign.api.find import open, runs  # noqa: A004
    from dlassign.api.run import Run
    from dlassign.api.sweep import sweep
    from dlassign.api.train import train
    from dlassign.deploy.model import load_model

__all__ = ["Run", "check", "compare", "load_model", "open", "runs", "sweep", "train"]

_HOMES = {
    "Run": "dlassign.api.run",
    "check": "dlassign.api.check",
    "compare": "dlassign.api.compare",
    "load_model": "dlassign.deploy.model",
    "open": "dlassign.api.find",
    "runs": "dlassign.api.find",
}
"""The module of each public name but those of `_ALSO_PACKAGES`; imported when asked for, as it may import torch."""
_ALSO_PACKAGES = ("sweep", "train")
"""Public functions that are called as one of our packages is: importing the package makes it the attribute here."""


class _CallablePackage(ModuleType):
    """A package that is called as the public function of its name, so that the name means both in whatever order."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Do what the function of `dlassign.api` with this name does."""
        return self.function(*given, **named)

    @property
    def __signature__(self) -> Any:
        from inspect import signature  # for help in notebooks alone

        return signature(self.function)

    @property
    def function(self) -> Any:
        """The function of `dlassign.api` that calling this package calls."""
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(f"dlassign.api.{name}"), name)


for _name in _ALSO_PACKAGES:
    # Imported now, which costs next to nothing as they hold a docstring alone: later it would replace a function.
    import_module(f"dlassign.{_name}").__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    """Fetch a public name when it is asked for: `import dlassign` imports no torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
