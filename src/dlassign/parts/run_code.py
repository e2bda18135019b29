"""The copy of a user's code beside what was trained with it: run again only if the user trusts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlassign.config.base import Config
from dlassign.config.own_names import own_names
from dlassign.config.own_part import file_and_name, own_parts, split_name
from dlassign.errors import UserError
from dlassign.parts.code import Code
from dlassign.store.files import make_folder, replacing
from dlassign.store.identity import experiment_of
from dlassign.store.paths import RunPaths
from dlassign.store.records import former_records


class EditedError(UserError):
    """The code in a folder is not what was trained."""


def write_code(folder: Path, config: Config) -> None:
    """Write the files of the own parts of a config, and what they import from beside them, into a folder `code/`."""
    for part in own_parts(config):
        for below, text in part.own_code.sources(part.name).items():
            target = folder / below
            make_folder(target.parent)
            with replacing(target) as file:
                file.write(text)


def copied_code(folder: Path, config: Mapping[str, Any], *, trust: bool) -> Code | None:
    """Return the code of the own parts of a run or an exported model; None if it has none.

    Args:
        folder: the copy, `code/`.
        config: as plain values; it tells the digests.
        trust: whether the user lets this code run.

    Raises:
        UserError: it is not trusted or a file is missing. An EditedError if one was edited, trusted or not.
    """
    parts = {section["name"]: section.get("code") for section in _sections(config)}
    if not parts:
        return None
    files = {name: folder / file for name in parts if (file := file_and_name(name)[0])}
    code = Code(dict.fromkeys(files.values()))  # which reads them, and lets nothing run
    for name, digest in parts.items():
        if code.digest(name) != digest:
            raise EditedError(
                f"{files[name]}, or a file that it imports from beside it, is not what was trained: its digest is "
                f"{code.digest(name)}, that of the training {digest}; put the files back as they were"
            )
    if not trust:
        raise UserError(
            f"{folder.parent} has parts of its user's own ({', '.join(parts)}), and this would run their code; look at "
            f"{folder}, and if you trust it add --trust"
        )
    return code


def with_other_code(paths: RunPaths, config: Mapping[str, Any], sha256: str) -> Iterator[tuple[RunPaths, list[str]]]:
    """Yield the runs beside a new one that differ from it in the code of own parts alone, with the files that differ.

    Args:
        paths: of the new run.
        config: the resolved config as plain values.
        sha256: digest of its data.
    """
    parts = {section["name"]: section["code"] for section in _sections(config)}
    wanted = experiment_of(_without_code(config), sha256)
    for folder in sorted(paths.root.parent.glob(f"*-s{config['seed']}")) if parts else ():
        with suppress(UserError):  # an unreadable run is no reason not to train
            records = former_records(folder / "log.jsonl")
            if records is None or folder == paths.root:
                continue
            start = records.start
            if experiment_of(_without_code(start["config"]), start["data"]["sha256"]) == wanted:
                then = {section["name"]: section.get("code") for section in _sections(start["config"])}
                yield (
                    RunPaths(folder),
                    sorted({file_and_name(name)[0] for name in parts if then.get(name) != parts[name]}),
                )


def _sections(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, _ in own_names(config):
        section: Any = config
        for key in path:
            section = section[key]
        yield section


def _without_code(value: Any) -> Any:
    """Return a config without the digests of code."""
    if isinstance(value, Mapping):
        own = split_name(value.get("name")) is not None
        return {key: _without_code(inner) for key, inner in value.items() if not (own and key == "code")}
    return [_without_code(item) for item in value] if isinstance(value, list) else value
