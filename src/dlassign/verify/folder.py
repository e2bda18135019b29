"""What lies beside the log of a run: the folder's name, config.yaml and manifest.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dlassign.config.load import read_yaml
from dlassign.config.neutral_keys import without
from dlassign.config.ordinary_file import open_ordinary
from dlassign.config.values import flow
from dlassign.errors import ConfigError, UserError
from dlassign.parts.run_code import EditedError, copied_code
from dlassign.store.files import reason
from dlassign.store.folder_name import RUN_NAME, other_run
from dlassign.store.identity import flat_config
from dlassign.store.log_order import Contradiction
from dlassign.store.manifest_check import manifest_contradictions, read_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.store.summary import DAMAGE
from dlassign.train.saved import MAY_BE_EDITED, edited_keys
from dlassign.verify.judgement import Judgement, consistent, contradicted, untold

_SHOWN = 3


def folder_judgements(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield what the folder's name, config.yaml and manifest.json say beside the log."""
    yield from _name(records.start, paths)
    yield from _config(records.start, paths)
    yield from _manifest(records, paths)
    yield from _code(records, paths)


def _name(start: Record, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the folder has the name of this config, data and seed."""
    found = RUN_NAME.fullmatch(paths.root.resolve().name)
    if found is None:
        yield untold("folder", "the folder has not the name of a run, which would hold the hash of its config and data")
        return
    wrong: list[Contradiction] = []
    try:
        wrong += other_run(start, paths.root)
    except (UserError, *DAMAGE) as error:
        yield untold("folder", f"the hash of the config cannot be computed: {' '.join(str(error).split())[:200]}")
    else:
        if not wrong:
            yield consistent("folder", "the folder's name has the hash of the log's config and data, and its seed")
    yield from (contradicted(*one) for one in wrong)


def _config(start: Record, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether config.yaml is what the log begins with."""
    if (no_file := unreadable("config", paths.config)) is not None:
        yield no_file
        return
    try:
        document = read_yaml(paths.config)
        problems, file = document.problems, document.data  # such as a key that stands twice
    except ConfigError as error:
        problems, file = error.problems, None
    if problems:
        where = f"{paths.config}:{problems[0].line}" if problems[0].line else paths.config
        yield contradicted("config", problems[0].message, where)
        return
    changes = edited_keys(file, logged=start["config"])
    # The same keys, for both are written at once: one that is there or gone is seen whatever its value.
    then, now = (dict(flat_config(without(config, MAY_BE_EDITED))) for config in (start["config"], file))
    new = sorted(now.keys() - then.keys())
    changes = changes or [(key, then[key], None) for key in sorted(then.keys() - now.keys())]
    if changes or new:
        texts = [f"{key} is {flow(now)}, the log says {flow(then)}" for key, then, now in changes[:_SHOWN]]
        texts += [f"{key} is not in the log" for key in new[: _SHOWN - len(texts)]]
        more = f" and {len(changes) + len(new) - len(texts)} more keys" if len(changes) + len(new) > len(texts) else ""
        yield contradicted("config", f"{'; '.join(texts)}{more}", paths.config)
    else:
        yield consistent("config", "config.yaml is what the log begins with")


def _manifest(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the manifest says the same of the run, and knows the end of this very log."""
    if (no_file := unreadable("manifest", paths.manifest)) is not None:
        yield no_file
        return
    try:
        manifest = read_manifest(paths)
    except (OSError, ValueError, RecursionError) as error:  # it is written as a whole or not at all
        yield contradicted("manifest", f"it is damaged: {' '.join(str(error).split())[:200]}", paths.manifest)
        return
    if not isinstance(manifest, dict):
        yield contradicted("manifest", "it holds no object", paths.manifest)
        return
    wrong = list(manifest_contradictions(manifest, records, paths))
    yield from (contradicted(*one) for one in wrong)
    if not wrong and manifest.get("status") == "running" and records.end is not None:
        what = "it says that the run goes on, as after a kill between the last record and the manifest"
        yield untold("manifest", f"manifest.json does not know the end of the log: {what}")
    elif not wrong and "chain" not in manifest and "chain" in records.start:
        what = "an earlier version wrote it, or a kill kept it out"
        yield untold("manifest", f"manifest.json does not hold the chain of the log: {what}")
    elif not wrong:
        yield consistent("manifest", "manifest.json says the same of the run")


def _code(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the code in the folder has the digests of the log; none of it runs."""
    try:
        code = copied_code(paths.code, records.start["config"], trust=True)
    except EditedError as error:
        yield contradicted("code", " ".join(str(error).split()), records.lines[0][0])
        return
    except UserError:  # a file cannot be read: the checks that need it say so
        return
    if code is not None:
        yield consistent("code", "the code in the folder has the digests that the log names")


def unreadable(name: str, path: Path) -> Judgement | None:
    """Return what is to say of a file that cannot be read; None of one that can.

    Args:
        name: of the check that reads it.
        path: of the file.
    """
    try:
        open_ordinary(path).close()
    except OSError as error:
        if path.exists() and not path.is_file():
            return contradicted(name, "it is no ordinary file, but a folder, a pipe or a device", path)
        return untold(name, f"{path.name} cannot be read: {reason(error)}")
    return None
