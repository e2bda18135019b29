"""Loading weights: all of them or none, what the report says, and every way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from dlassign.data.bundle import Split
from dlassign.data.prepare import fit_preprocess
from dlassign.errors import UserError
from dlassign.nets import pretrained
from dlassign.nets.pretrained import (
    IMAGENET_FILES,
    IMAGENET_URL,
    fetch_imagenet,
    imagenet_preprocess,
    load_pretrained,
    load_state,
    read_file,
    read_imagenet,
)
from dlassign.nets.resnet import resnet
from helpers.commands import calling


def net(n_outputs: int = 3, *, width: int = 4, channels: int = 3) -> nn.Sequential:
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(channels, width, 3))
    model.add_module("norm", nn.BatchNorm2d(width))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(width * 9, n_outputs))
    return model


BODY = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
COUNTER = "norm.num_batches_tracked"
HEAD = ("fc.weight", "fc.bias")


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def message_of(function: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        function()
    return str(caught.value)


class TestLoadState:
    def test_all_but_the_head(self) -> None:
        source, model = net(5), net(3)
        nn.init.normal_(source.norm.running_mean)
        before = copy_of(model)
        report = load_state(model, source.state_dict(), head="fc", source="a run")
        assert (report.loaded, report.missing) == ((*BODY, COUNTER), ())
        assert (report.unexpected, report.replaced) == ((), HEAD)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name] if name in HEAD else source.state_dict()[name]), name
        assert str(report) == ("7 tensors loaded from a run; new: fc.weight, fc.bias; missing: none; unexpected: none")

    def test_weights_of_another_type_are_converted(self) -> None:
        source, model = net().double(), net()
        load_state(model, source.state_dict(), head="fc", source="s")
        assert torch.equal(model.conv.weight, source.conv.weight.float())

    def test_counters_of_batches_do_not_matter_and_an_old_head_is_named(self) -> None:
        state = copy_of(net())
        del state[COUNTER]
        state["conv.num_batches_tracked"] = torch.tensor(3)
        state["fc.scale"] = torch.ones(1)
        report = load_state(net(), state, head="fc", source="s")
        assert report.loaded == BODY
        assert report.missing == (COUNTER,)
        assert report.unexpected == ("conv.num_batches_tracked", "fc.scale")
        assert str(report).endswith(f"missing: {COUNTER}; unexpected: conv.num_batches_tracked, fc.scale")

    def test_a_head_is_a_module_and_not_a_beginning_of_names(self) -> None:
        state = copy_of(net()) | {"fc2.weight": torch.zeros(2, 2)}
        assert "fc2.weight: found (2, 2), expected no such tensor" in message_of(
            lambda: load_state(net(), state, head="fc", source="s")
        )

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod."])
    def test_weights_saved_from_a_wrapped_model_fit(self, prefix: str, tmp_path: Path) -> None:
        source, model = net(), net()
        state = {prefix + name: value for name, value in source.state_dict().items()}
        torch.save(state | {"n_averaged": torch.tensor(3)}, tmp_path / "a.pt")
        report = load_pretrained(model, str(tmp_path / "a.pt"), name="mlp", head="fc")
        assert str(report).startswith(f"7 tensors loaded from {tmp_path / 'a.pt'} (names without {prefix});")
        assert torch.equal(model.conv.weight, source.conv.weight)

    def test_another_prefix_is_named(self) -> None:
        state = {"backbone." + name: value for name, value in net().state_dict().items()}
        said = message_of(lambda: load_state(net(), state, head="fc", source="s"))
        assert "'backbone.' stands before the names that would fit" in said

    def test_another_architecture(self) -> None:
        model = net()
        before = copy_of(model)
        assert message_of(lambda: load_state(model, net(channels=1).state_dict(), head="fc", source="w.pt")) == (
            "the weights of w.pt belong to another architecture: of 7 tensors without the head fc, these differ:\n"
            "  conv.weight: found (4, 1, 3, 3), expected (4, 3, 3, 3)\n"
            "Use the model that they were trained with, or other weights"
        )
        assert unchanged(model, before)

    def test_the_first_five_differences_in_the_model_s_order(self) -> None:
        state = {"a.weight": torch.zeros(2), **copy_of(net(width=5))}
        del state["norm.bias"]
        model = net()
        before = copy_of(model)
        assert message_of(lambda: load_state(model, state, head="fc", source="w.pt")).splitlines()[1:] == [
            "  conv.weight: found (5, 3, 3, 3), expected (4, 3, 3, 3)",
            "  conv.bias: found (5,), expected (4,)",
            "  norm.weight: found (5,), expected (4,)",
            "  norm.bias: found missing, expected (4,)",
            "  norm.running_mean: found (5,), expected (4,)",
            "  and 2 more",
            "Use the model that they were trained with, or other weights",
        ]
        assert unchanged(model, before)

    def test_a_shallower_resnet(self) -> None:
        with torch.device("meta"):
            state = models.resnet18().state_dict()
            model = resnet("resnet34", (3, 32, 32), n_outputs=10)
        text = message_of(lambda: load_state(model, state, head="fc", source="imagenet"))
        assert "\n  layer1.2.conv1.weight: found missing, expected (64, 64, 3, 3)\n" in text
        differing = set(model.state_dict()) - set(state)
        assert f"and {sum('num_batches' not in name for name in differing) - 5} more" in text

    def test_a_model_that_is_all_head(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2))
        text = message_of(lambda: load_state(model, model.state_dict(), head="0", source="s"))
        assert text == "nothing of s can be used: the model has no weights but those of its head, 0"


class TestFiles:
    @pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "state_dict", "model", "weights"])
    def test_round_trip(self, kind: str, tmp_path: Path) -> None:
        source, model = net(7), net(3)
        path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
        if kind == "safetensors":
            save_file(source.state_dict(), path)
        else:
            wrapped = source.state_dict() if kind in ("zip", "legacy") else {"epoch": 3, kind: source.state_dict()}
            torch.save(wrapped, path, _use_new_zipfile_serialization=kind != "legacy")
        report = load_pretrained(model, str(path), name="any", head="fc")
        assert set(report.loaded) == {*BODY, COUNTER}
        assert report.source == str(path)
        assert all(torch.equal(model.state_dict()[name], source.state_dict()[name]) for name in BODY)

    def test_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"

        class Malicious:
            def __reduce__(self) -> tuple[Any, ...]:
                return victim.touch, ()

        path = tmp_path / "w.pt"
        torch.save({"conv.weight": Malicious()}, path)
        assert message_of(lambda: read_file(path)) == (
            f"{path} was not loaded: it is damaged, or holds something other than tensors and plain values, which "
            "could run code. Save weights with torch.save(model.state_dict(), FILE) or as safetensors"
        )
        path.write_bytes(pickle.dumps(Malicious()))
        assert "could run code" in message_of(lambda: read_file(path))
        assert not victim.exists()
        pickle.loads(path.read_bytes())  # the same bytes do run where they are let
        assert victim.exists()

    def test_a_whole_model_is_refused(self, tmp_path: Path) -> None:
        torch.save(net(), tmp_path / "w.pt")
        assert "was not loaded" in message_of(lambda: read_file(tmp_path / "w.pt"))

    @pytest.mark.parametrize("legacy", [False, True])
    def test_damage(self, legacy: bool, tmp_path: Path) -> None:
        path = tmp_path / "w.pt"
        torch.save(net().state_dict(), path, _use_new_zipfile_serialization=not legacy)
        whole = path.read_bytes()
        for length in (0, 1, 20, len(whole) // 2, len(whole) - 30):
            path.write_bytes(whole[:length])
            text = message_of(lambda: read_file(path))
            assert text.startswith(f"{path} was not loaded: it is damaged, or") or text == (
                f"{path} is damaged or was not written by torch.save; get it anew"
            )

    def test_one_bit_changed_in_the_directory_of_a_file_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "w.pt"
        torch.save(net().state_dict(), path)
        whole = path.read_bytes()
        for place in range(whole.index(b"PK\x01\x02"), len(whole), 23):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            with contextlib.suppress(UserError):  # a bit may say nothing, as of a date
                assert read_file(path).keys() == net().state_dict().keys()

    def test_damaged_safetensors(self, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        save_file(net().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-1])
        text = message_of(lambda: read_file(path))
        assert text.startswith(f"{path} is damaged or no safetensors file (")
        assert text.endswith("); get it anew")

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ([1, 2], "holds a value of type list instead of tensors by name"),
            ({}, "holds nothing instead of tensors by name"),
            ({"model": {}}, "holds nothing instead of tensors by name"),
            ({"a": torch.ones(1), "epoch": 3}, "is no state dict: under 'epoch' lies a value of type int"),
            ({3: torch.ones(1)}, "is no state dict: under 3 lies a value of type Tensor"),
        ],
    )
    def test_something_else(self, content: Any, what: str, tmp_path: Path) -> None:
        path = tmp_path / "w.pt"
        torch.save(content, path)
        cure = "save weights with torch.save(model.state_dict(), FILE)"
        assert message_of(lambda: read_file(path)) == f"{path} {what}; {cure}"

    def test_no_such_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert message_of(lambda: load_pretrained(net(), "out/a/latest", name="mlp", head="fc")) == (
            f"there are no weights at out/a/latest: no such file or run folder (working directory {tmp_path})"
        )

    def test_a_byte_changed_in_a_file_is_noticed(self, tmp_path: Path) -> None:
        file = tmp_path / "weights.pt"
        torch.save(net().state_dict(), file)
        content = bytearray(file.read_bytes())
        values = torch.load(file, weights_only=True)["conv.weight"].numpy().tobytes()
        place = content.find(values)
        content[place + 5] ^= 1
        file.write_bytes(content)
        assert "is damaged" in message_of(lambda: read_file(file))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda w: w.to(torch.complex64), "holds complex64 numbers"),
        (lambda w: (w * 100).to(torch.int8), "holds int8 numbers"),
        (lambda w: w * float("nan"), "not finite"),
        (lambda w: w.double() * 1e300, "not finite"),
        (lambda w: w.to_sparse(), "is sparse"),
        (lambda w: w.to("meta"), "without values"),
    ],
)
def test_what_is_no_weight_is_refused(change: Callable[[Tensor], Tensor], part: str) -> None:
    model, state = net(), dict(net().state_dict())
    before = copy_of(model)
    state["conv.weight"] = change(state["conv.weight"] + 1)
    message = message_of(lambda: load_state(model, state, head="fc", source="w.pt"))
    assert message.startswith("the weights of w.pt cannot be used: conv.weight ")
    assert part in message
    assert unchanged(model, before)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the weights of a small net under a name with the right digits, known as resnet18's."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(net(1000).state_dict(), folder / "w")
    digits = hashlib.sha256((folder / "w").read_bytes()).hexdigest()[:8]
    path = (folder / "w").rename(folder / f"resnet18-{digits}.pth")
    monkeypatch.setitem(IMAGENET_FILES, "resnet18", path.name)
    monkeypatch.setattr(pretrained, "IMAGENET_URL", folder.as_uri() + "/")
    return path


class TestImageNet:
    @pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
    def test_files_are_torchvision_s(self, name: str) -> None:
        assert models.get_model_weights(name)["IMAGENET1K_V1"].url == IMAGENET_URL + IMAGENET_FILES[name]

    def test_missing_weights(self, hub: Path) -> None:
        model = net()
        before = copy_of(model)
        assert message_of(lambda: load_pretrained(model, "imagenet", name="resnet34", head="fc")) == (
            f"the ImageNet weights of resnet34 are not there: the file resnet34-b627a593.pth must lie in {hub}. "
            "Run `dlassign data fetch resnet34-imagenet`, copy the file there from another machine, or set "
            "`download: true` beside `weights: imagenet`"
        )
        assert unchanged(model, before)

    def test_fetched_then_loaded(self, hub: Path, server: Path, capsys: pytest.CaptureFixture[str]) -> None:
        calling("fetch", "data")("resnet18-imagenet")
        assert capsys.readouterr().out == f"resnet18-imagenet is {hub / server.name}\n"
        model = net()
        report = load_pretrained(model, "imagenet", name="resnet18", head="fc")
        assert torch.equal(model.conv.weight, torch.load(server)["conv.weight"])
        assert report.source == f"imagenet ({server.name})"
        assert report.replaced == HEAD

    def test_downloaded_when_allowed(self, hub: Path, server: Path) -> None:
        assert set(read_imagenet("resnet18", download=True)) == {*BODY, COUNTER, *HEAD}
        server.unlink()  # a second start does not need the network
        assert read_imagenet("resnet18", download=True).keys() == read_imagenet("resnet18").keys()
        assert [path.name for path in hub.iterdir()] == [server.name]

    def test_fetched_to_a_folder_of_one_s_own(self, hub: Path, server: Path, tmp_path: Path) -> None:
        assert fetch_imagenet("resnet18", str(tmp_path / "mine")) == tmp_path / "mine" / server.name
        assert not hub.exists()

    def test_damaged_weights_are_refused_and_fetched_anew(self, hub: Path, server: Path) -> None:
        hub.mkdir(parents=True)
        path = hub / server.name
        path.write_bytes(server.read_bytes()[:-1])
        assert message_of(lambda: read_imagenet("resnet18")) == (
            f"{path} is damaged: its SHA-256 does not begin with the digits in its name. "
            "`dlassign data fetch resnet18-imagenet` gets it anew"
        )
        fetch_imagenet("resnet18")
        assert path.read_bytes() == server.read_bytes()

    def test_a_damaged_download_is_not_kept(self, hub: Path, server: Path) -> None:
        server.write_bytes(b"an error page")
        text = message_of(lambda: fetch_imagenet("resnet18"))
        assert text.startswith(f"could not download {server.as_uri()}: invalid hash value (expected")
        assert list(hub.iterdir()) == []

    def test_no_network(self, hub: Path, server: Path) -> None:
        server.unlink()
        text = message_of(lambda: read_imagenet("resnet18", download=True))
        assert text.startswith(f"could not download {server.as_uri()}: <urlopen error ")
        assert text.endswith(
            f". Check the network and the free space, or copy {server.name} from another machine to {hub}"
        )
        assert list(hub.iterdir()) == []

    def test_a_folder_that_cannot_be_made(self, server: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        text = message_of(lambda: fetch_imagenet("resnet18", str(tmp_path / "file")))
        assert f"could not download {server.as_uri()}: " in text
        assert "File exists" in text

    def test_no_such_weights(self) -> None:
        known = "there are for resnet18, resnet34, resnet50"
        text = message_of(lambda: load_pretrained(net(), "imagenet", name="mlp", head="fc"))
        assert text == f"there are no ImageNet weights for 'mlp'; {known}"

    def test_normalisation_is_that_of_torchvision(self) -> None:
        x = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
        theirs = models.ResNet34_Weights.IMAGENET1K_V1.transforms(crop_size=8, resize_size=8)(torch.from_numpy(x))
        ours = fit_preprocess(imagenet_preprocess(), Split(x, np.zeros(4, np.int64))).apply(x)
        assert np.allclose(ours, theirs.numpy(), atol=1e-6)
