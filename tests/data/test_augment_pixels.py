"""Each operation on a batch of images against a loop over images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlassign.data import augment_pixels as ops
from helpers.pictures import pictures

SHAPES = [(8, 3, 32, 32), (5, 1, 7, 4), (1, 3, 5, 9)]
DTYPES = [torch.uint8, torch.float32]


def integers(shape: tuple[int, ...], below: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, below, shape[0]))


class TestOperationsAgainstALoopOverImages:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_flip(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        x, which = pictures(shape, dtype), integers(shape, 2).bool()
        expected = [image[..., ::-1] if turn else image for image, turn in zip(x.numpy(), which.numpy(), strict=True)]
        np.testing.assert_array_equal(ops.flip(x, which), np.stack(expected))

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("pixels", [0, 1, 3])
    @pytest.mark.parametrize(("how", "mode"), [("zeros", "constant"), ("edge", "edge"), ("reflect", "reflect")])
    def test_pad(self, shape: tuple[int, ...], dtype: torch.dtype, pixels: int, how: str, mode: str) -> None:
        x = pictures(shape, dtype)
        expected = np.pad(x.numpy(), ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode=mode)
        np.testing.assert_array_equal(ops.pad(x, pixels, how=how), expected)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 2)])
    def test_crop(self, shape: tuple[int, ...], dtype: torch.dtype, size: Any) -> None:
        x = pictures(shape, dtype)
        top, left = integers(shape, shape[2] - size[0] + 1), integers(shape, shape[3] - size[1] + 1, seed=2)
        places = enumerate(zip(top, left, strict=True))
        expected = [x.numpy()[i, :, t : t + size[0], k : k + size[1]] for i, (t, k) in places]
        np.testing.assert_array_equal(ops.crop(x, top=top, left=left, size=size), np.stack(expected))

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("size", [1, 3, 4])
    def test_cutout(self, shape: tuple[int, ...], dtype: torch.dtype, size: Any) -> None:
        x, fill = pictures(shape, dtype), torch.tensor([7.0, 250.0, 91.0])[: shape[1]]
        top, left = integers(shape, shape[2] - size + 1), integers(shape, shape[3] - size + 1, seed=2)
        expected = x.numpy().copy()
        for i, (t, k) in enumerate(zip(top, left, strict=True)):
            expected[i, :, t : t + size, k : k + size] = fill.numpy()[:, None, None]
        np.testing.assert_array_equal(ops.cutout(x, top=top, left=left, size=size, fill=fill), expected)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_brightness_and_contrast(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        x, factor = pictures(shape, dtype), torch.linspace(0.2, 1.9, shape[0])
        bright, contrast = [], []
        for image, f in zip(x.double().numpy(), factor.double().numpy(), strict=True):
            bright.append(np.clip(image * f, 0, 255))
            contrast.append(np.clip(image.mean() + (image - image.mean()) * f, 0, 255))
        for found, expected in ((ops.brightness(x, factor), bright), (ops.contrast(x, factor), contrast)):
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-3)

    def test_mixup_and_cutmix(self) -> None:
        x, partner = torch.randn(6, 3, 8, 5), torch.tensor([3, 1, 0, 5, 2, 4])
        blended = [0.3 * a + 0.7 * x.numpy()[p] for a, p in zip(x.numpy(), partner, strict=True)]
        np.testing.assert_allclose(ops.mixup(x, partner, share=0.3), np.stack(blended), rtol=1e-5, atol=1e-6)
        pasted = x.numpy().copy()
        for i, p in enumerate(partner):
            pasted[i, :, 2:6, 1:4] = x.numpy()[p, :, 2:6, 1:4]
        np.testing.assert_array_equal(ops.cutmix(x, partner, box=(2, 6, 1, 4)), pasted)

    @pytest.mark.parametrize("mix", ["mixup", "cutmix"])
    def test_mixes_keep_the_memory_format(self, mix: str) -> None:
        x = torch.randn(6, 3, 8, 8).contiguous(memory_format=torch.channels_last)
        partner = torch.arange(6).flip(0)
        found = ops.mixup(x, partner, share=0.3) if mix == "mixup" else ops.cutmix(x, partner, box=(1, 4, 2, 6))
        assert found.is_contiguous(memory_format=torch.channels_last)


class TestResize:
    def test_halving_weighs_pixels_as_a_triangle_over_four(self) -> None:
        """Bilinear weights that are stretched over the pixels which a new one stands for: 1, 3, 3, 1 of 8."""
        x = pictures((2, 3, 12, 8)).double().numpy()
        rows = np.zeros((6, 12))
        columns = np.zeros((4, 8))
        for matrix in (rows, columns):
            for place in range(len(matrix)):
                taps = [(2 * place - 1 + k, weight) for k, weight in enumerate((1, 3, 3, 1))]
                inside = [(at, weight) for at, weight in taps if 0 <= at < matrix.shape[1]]
                for at, weight in inside:
                    matrix[place, at] = weight / sum(weight for _, weight in inside)
        expected = np.einsum("ij,ncjk,lk->ncil", rows, x, columns)
        np.testing.assert_allclose(ops.resize(torch.from_numpy(x).to(torch.uint8), 4), expected, atol=1e-3)

    def test_the_number_of_threads_changes_nothing(self) -> None:
        x, before = pictures((64, 3, 32, 32)), torch.get_num_threads()
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ops.resize(x, 20))
        torch.set_num_threads(before)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_operations_are_those_of_the_cpu(shape: tuple[int, ...]) -> None:
    x, which = pictures(shape), integers(shape, 2).bool()
    top, fill = integers(shape, 2), torch.tensor([7.0, 250.0, 91.0])[: shape[1]]
    assert torch.equal(ops.flip(x.cuda(), which.cuda()).cpu(), ops.flip(x, which))
    assert torch.equal(ops.pad(x.cuda(), 2, how="reflect").cpu(), ops.pad(x, 2, how="reflect"))
    found = ops.crop(x.cuda(), top=top.cuda(), left=top.cuda(), size=(3, 3))
    assert torch.equal(found.cpu(), ops.crop(x, top=top, left=top, size=(3, 3)))
    torch.testing.assert_close(ops.resize(x.cuda(), 3).cpu(), ops.resize(x, 3))
    found = ops.cutout(x.cuda(), top=top.cuda(), left=top.cuda(), size=3, fill=fill.cuda())
    assert torch.equal(found.cpu(), ops.cutout(x, top=top, left=top, size=3, fill=fill))
