"""`dlassign export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import json_option, neutral_set_option, place, weights_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlassign.deploy.export import Exported

KINDS = ("safetensors", "onnx", "pt2", "hf")


@click.command("export")
@click.argument("run", type=place)
@click.option(
    "--to",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="What to write beside weights and configs, which always are: nothing, ONNX, a torch.export program, a model "
    "card. Repeatable; by default all that is installed.",
)
@click.option("--out", type=place, required=True, metavar="DIR", help="The new folder.")
@weights_option
@neutral_set_option
@json_option
def export_command(
    run: str, kinds: tuple[str, ...], out: str, weights: str, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Write the trained net of RUN into a folder for other programs, if it computes there what it computes here.

    Example: dlassign export out/quickstart/latest --to onnx --out digits-model
    """
    import json
    from pathlib import Path

    from dlassign.deploy.export import export_run, installed_kinds
    from dlassign.deploy.onnx_file import INSTALL
    from dlassign.store.select import one_run

    chosen = kinds or installed_kinds()
    if not kinds and "onnx" not in chosen:
        click.echo(f"note: no model.onnx is written; for it {INSTALL}", err=True)
    done = export_run(one_run(run), Path(out), kinds=chosen, weights=weights, overrides=overrides)
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(_as_dict(done)) if as_json else "\n".join(_lines(done)))


def _as_dict(done: Exported) -> dict[str, Any]:
    return {"folder": str(done.folder), "files": list(done.files), "parity": done.parity.as_dict()}


def _lines(done: Exported) -> Iterator[str]:
    yield f"compared with {done.parity.reference}"
    yield f"real samples: {done.parity.real}"
    for name, found in done.parity.files.items():
        ties = f", {found.ties} ties" * bool(found.ties)
        yield f"  {name}: {found.samples} samples, largest difference of a score {found.largest:.2g}{ties}"
    yield f"folder {done.folder}: {', '.join(done.files)}"
