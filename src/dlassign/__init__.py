"""dlassign: image-classification experiments from a YAML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlassign.deploy.model import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """Fetch a public name when it is asked for: `import dlassign` imports no torch."""
    if name == "load_model":
        from dlassign.deploy.model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
