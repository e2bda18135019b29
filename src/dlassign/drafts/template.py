"""The templates that the package carries: configs to begin with, as files of the folder `templates`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

TEMPLATES: Mapping[str, str | None] = {
    "quickstart": "quickstart.yaml",
    "mnist": "mnist_mlp.yaml",
    "cifar10": "fast/cifar10_82.yaml",
    "vgg": "reports/uva2018/vgg.yaml",
    "transfer": None,
    "numpy": None,
    "sweep": "sweeps/digits.yaml",
}
"""Names, each with the file of `configs/` that it is a copy of; None: the template is the only one. A test keeps them
equal."""
BASES: Mapping[str, str] = {"sweep": "quickstart"}
"""A template that begins with another one, which is written beside it."""


def template_text(name: str) -> str:
    """Return the YAML of a template."""
    return (files("dlassign.drafts") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


MOST_LETTERS = 95
"""Of a summary, which shares a line of a terminal with the name."""


def template_summary(name: str) -> str:
    """Return the first sentence of a template's comment, in one line; of a long one its first clauses."""
    comment: list[str] = []
    for line in template_text(name).splitlines():
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    text = " ".join(comment).partition(". ")[0].removesuffix(".")
    for mark in (", ", ": "):
        while len(text) > MOST_LETTERS and mark in text:
            text = text.rpartition(mark)[0]
    return text


def as_template(text: str, *, name: str, source: str) -> str:
    """Return a config of `configs/` as its template: no schema beside it, other names of files, no folders.

    Args:
        text: the config.
        name: of the template.
        source: the config's path below `configs`.
    """
    head, blank, *lines = text.splitlines()
    assert head.startswith("# yaml-language-server: $schema=")
    assert blank == "#"
    plain = "\n".join(lines) + "\n"
    plain = plain.replace("../quickstart.yaml", "quickstart.yaml")
    return plain.replace(f"--config configs/{source}", f"{name}.yaml")
