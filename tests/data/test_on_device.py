"""Preprocessing of bytes on a device gives the bits of the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dlassign.data import on_device
from dlassign.data.bundle import Split
from dlassign.data.on_device import DevicePreprocess, can_run
from dlassign.data.prepare import Preprocess, fit_preprocess
from dlassign.data.preprocess_steps import make_steps
from dlassign.errors import DataError
from helpers.gpu import waiting_is_an_error

SCALE = {"name": "scale", "divisor": 255.0}
SIXTEEN = {"name": "scale", "divisor": 16.0}
MEAN = {"name": "mean_image"}
MEASURED = {"name": "normalize", "mean": None, "std": None}
CHAINS: dict[str, tuple[dict[str, Any], ...]] = {
    "nothing": (),
    "scale": (SCALE,),
    "normalize": (MEASURED,),
    "scale, normalize": (SCALE, MEASURED),
    "mean image": (MEAN,),
    "scale, mean image, normalize": (SCALE, MEAN, MEASURED),
    "mean image, scale twice": (MEAN, SCALE, SIXTEEN),
}
SHAPES = [(3, 32, 32), (1, 5, 7), (4, 3, 2)]


def pictures(n: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def fitted(chain: str, shape: tuple[int, ...]) -> Preprocess:
    return fit_preprocess(CHAINS[chain], Split(pictures(40, shape, seed=1), np.zeros(40, dtype=np.int64)))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("shape", SHAPES)
class TestBytes:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_every_bit_is_that_of_the_host(
        self, chain: str, shape: tuple[int, ...], dtype: Any, channels_last: bool
    ) -> None:
        host, x = fitted(chain, shape), pictures(300, shape)
        device = DevicePreprocess(
            host.steps, channels=shape[0], device="cpu", dtype=getattr(torch, dtype), channels_last=channels_last
        )
        found = device(torch.from_numpy(x))
        expected = host.apply(x, dtype)
        assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        assert found.numpy().dtype == expected.dtype
        np.testing.assert_array_equal(found.numpy(), expected)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_the_float32_rounded(self, chain: str, shape: tuple[int, ...], dtype: Any) -> None:
        host, x = fitted(chain, shape), pictures(20, shape)
        found = DevicePreprocess(host.steps, channels=shape[0], device="cpu", dtype=dtype)(torch.from_numpy(x))
        assert torch.equal(found, torch.from_numpy(host.apply(x)).to(dtype))

    def test_pixels_that_are_no_whole_numbers(self, chain: str, shape: tuple[int, ...]) -> None:
        host = fitted(chain, shape)
        x = pictures(20, shape) * 0.371
        for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-13)):
            device = DevicePreprocess(host.steps, channels=shape[0], device="cpu", dtype=dtype)
            expected = host.apply(x, "float64")
            found = device(torch.from_numpy(x).to(dtype))
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_pieces_make_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    host, x = fitted("scale, normalize", (3, 5, 5)), pictures(11, (3, 5, 5))
    monkeypatch.setattr(on_device, "PIECE_VALUES", 160)
    device = DevicePreprocess(host.steps, channels=3, device="cpu")
    np.testing.assert_array_equal(device(torch.from_numpy(x)), host.apply(x))
    assert device(torch.from_numpy(x[:0])).shape == (0, 3, 5, 5)


def test_any_memory_format_comes_in() -> None:
    host, x = fitted("scale, normalize", (3, 6, 5)), pictures(9, (3, 6, 5))
    last = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(DevicePreprocess(host.steps, channels=3, device="cpu")(last), host.apply(x))


def test_another_image_size_is_fine_unless_there_is_a_mean_image() -> None:
    x = pictures(4, (3, 8, 8))
    host = fitted("scale, normalize", (3, 5, 5))
    found = DevicePreprocess(host.steps, channels=3, device="cpu")(torch.from_numpy(x))
    np.testing.assert_array_equal(found, host.apply(x))
    device = DevicePreprocess(fitted("mean image", (3, 5, 5)).steps, channels=3, device="cpu")
    with pytest.raises(DataError, match=r"shape \(3, 5, 5\), but these have \(3, 8, 8\)"):
        device(torch.from_numpy(x))
    with pytest.raises(DataError, match=r"shape \(3, H, W\), but these have \(1, 8, 8\)"):
        DevicePreprocess(host.steps, channels=3, device="cpu")(torch.from_numpy(x[:, :1]))


@pytest.mark.parametrize(
    ("steps", "dtype", "shape", "possible"),
    [
        ((), "uint8", (3, 4, 4), True),
        ((SCALE, MEAN, MEASURED), np.uint8, (1, 4, 4), True),
        ((SCALE,), "float32", (3, 4, 4), False),
        ((SCALE,), "uint8", (4,), False),
        ((SCALE, {"name": "flatten"}), "uint8", (3, 4, 4), False),
        (({"name": "pca", "components": 2, "whiten": False},), "uint8", (3, 4, 4), False),
    ],
)
def test_what_can_run(steps: Any, dtype: Any, shape: tuple[int, ...], possible: bool) -> None:
    train = Split(np.random.default_rng(0).integers(0, 256, (9, *shape)).astype(dtype), np.zeros(9, dtype=np.int64))
    assert can_run(fit_preprocess(steps, train).steps, dtype, shape) is possible


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(ValueError, match="not all of scale, flatten can be done on the device"):
        DevicePreprocess(make_steps([{"name": "scale", "divisor": 2.0}, {"name": "flatten"}]), channels=3, device="cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_gives_the_same_bits_and_never_waits(chain: str, channels_last: bool) -> None:
    host, x = fitted(chain, (3, 32, 32)), pictures(64, (3, 32, 32))
    device = DevicePreprocess(host.steps, channels=3, device="cuda", channels_last=channels_last)
    batch = torch.from_numpy(x).cuda()
    with waiting_is_an_error():
        found = device(batch)
        device(batch.float())
    np.testing.assert_array_equal(found.cpu(), host.apply(x))
