"""The way of docs/howto/own_photos.md, from a folder of odd photos to predictions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import first_photos
from dlassign.cli.main import main
from helpers.odd_photos import make_odd_photos

CONFIG = """\
data: {name: image_folder, root: photos, size: [8, 8], preprocess: [{name: scale}]}
model: {name: mlp}
optimizer: {name: adam}
train: {epochs: 1, batch_size: 8}
"""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_odd_photos(tmp_path / "photos", 30, side=12)


@pytest.mark.slow  # 40 epochs, as `init` chooses for 204 photos
def test_the_commands_of_the_page_lead_to_five_predictions(capfd: pytest.CaptureFixture[str]) -> None:
    assert first_photos.main(["--side", "40"]) == 0
    assert "5 photos have a class" in capfd.readouterr().out


def test_the_page_shows_the_message_with_the_lines_to_write(photos: Path) -> None:
    [(command, shown)] = re.findall(r"```console\n\$ (.*?)\n(.*?)```", first_photos.PAGE.read_text(), flags=re.DOTALL)
    Path("my.yaml").write_text(CONFIG)
    done = CliRunner().invoke(main, command.split()[1:])
    assert done.exit_code == 1
    assert done.stderr == shown
    config = yaml.safe_load(CONFIG)
    config["data"] |= yaml.safe_load(shown.partition("\n\n")[2])
    Path("my.yaml").write_text(yaml.dump(config))
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 0


def test_the_pattern_of_the_page_keeps_patients_together(photos: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", first_photos.PAGE.read_text(), flags=re.DOTALL)
    for number, path in enumerate(sorted(photos.rglob("img*"))):
        path.rename(path.with_name(f"patient{number // 3}_{number}{path.suffix}"))
    config = yaml.safe_load(CONFIG)
    config["data"] |= {"train": ".", "test": None, **yaml.safe_load(text)["data"]}
    Path("my.yaml").write_text(yaml.dump(config))
    done = CliRunner().invoke(main, ["check", "my.yaml", "--set", "train.batch_size=2"])
    assert done.exit_code == 0, done.stderr
    assert "groups of samples that stay together" in done.stdout
