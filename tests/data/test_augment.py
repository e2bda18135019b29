"""Random changes of images: what they draw, and what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from dlassign.config.augment import Augments
from dlassign.data.augment import Mixed, make_augment, stream_seed
from dlassign.data.augment_pixels import resize
from dlassign.errors import ConfigError
from helpers.gpu import waiting_is_an_error
from helpers.pictures import pictures

EVERY = [
    {"name": "flip"},
    {"name": "translate"},
    {"name": "crop"},
    {"name": "cutout", "size": 3},
    {"name": "rand_augment"},
    {"name": "brightness"},
    {"name": "contrast"},
    {"name": "mixup"},
    {"name": "cutmix"},
]
FULL_SIZE_AFTER = 4


def plain(*steps: Any) -> tuple[dict[str, Any], ...]:
    """Defaults filled in as a config fills them in."""
    checked = TypeAdapter(Augments).validate_python([{"name": s} if isinstance(s, str) else s for s in steps])
    return tuple(step.model_dump() for step in checked)


def run(
    steps: Sequence[Any],
    x: Tensor,
    *,
    rows: Tensor | slice | None = None,
    epoch: int = 0,
    step: Any = 0,
    seed: int = 0,
    images: Tensor | None = None,
) -> Tensor:
    augment = make_augment(plain(*steps), x if images is None else images, seed=seed, full_size_after=FULL_SIZE_AFTER)
    return augment.pixels(x, torch.arange(len(x)) if rows is None else rows, epoch=epoch, step=step)


class TestRandomness:
    @pytest.mark.parametrize("step", EVERY[:-2], ids=lambda s: s["name"])
    def test_depends_on_seed_and_step_alone(self, step: Any) -> None:
        x = pictures((20, 3, 8, 8))
        first = run([step], x, step=3)
        assert torch.equal(first, run([step], x, step=3, epoch=5))
        assert not torch.equal(first, run([step], x, step=4))
        assert not torch.equal(first, run([step], x, step=3, seed=1))

    def test_nothing_is_remembered_between_steps(self) -> None:
        x, y = pictures((16, 3, 8, 8)), torch.arange(16)
        fresh, used = (make_augment(plain(*EVERY), x, seed=0) for _ in range(2))
        for step in range(3):
            used.mix(used.pixels(x, slice(0, 16), epoch=0, step=step).float(), y, step=step)
        results = [a.mix(a.pixels(x, slice(0, 16), epoch=1, step=9).float(), y, step=9) for a in (fresh, used)]
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1].weight, results[1][1].weight)

    def test_another_augmentation_changes_no_draws(self) -> None:
        x = pictures((64, 1, 8, 8)).sort(dim=3).values  # brighter to the right, unless flipped
        alone = run(["flip"], x, step=5)
        beside = run(["contrast", "brightness", "flip"], x, step=5)

        def turned(x: Tensor) -> None:
            return x[:, 0, :, 0].sum(1) > x[:, 0, :, -1].sum(1)

        assert 0 < turned(alone).sum() < 64
        assert torch.equal(turned(alone), turned(beside))

    def test_two_of_a_kind_draw_their_own(self) -> None:
        x = torch.full((2000, 1, 1, 1), 100, dtype=torch.uint8)
        one, two = ({"name": "brightness", "limit": 0.5} for _ in range(2))
        a = run([one], x) / 100
        b = run([one, two], x) / 100 / a
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.1

    @pytest.mark.parametrize("n", [1, 300])
    def test_threads_change_nothing(self, n: int) -> None:
        x = pictures((n, 3, 40, 40))
        threads, results = torch.get_num_threads(), []
        try:
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                steps = ["alternating_flip", *EVERY[1:4], "brightness", "contrast"]
                augment = make_augment(plain(*steps, "mixup"), x, seed=0)
                pixels = augment.pixels(x, torch.arange(n), epoch=1, step=1)
                results.append(augment.mix(pixels, torch.arange(n), step=1)[0])
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])

    @pytest.mark.parametrize("step", EVERY, ids=lambda s: s["name"])
    def test_what_is_given_is_not_written_to(self, step: Any) -> None:
        x = pictures((12, 3, 8, 8))
        augment = make_augment(plain(step), x, seed=0)
        before, floats = x.clone(), x.float()
        augment.pixels(x, slice(0, 12), epoch=0, step=0)
        augment.mix(floats, torch.arange(12), step=0)
        assert torch.equal(x, before)
        assert torch.equal(floats, before.float())

    def test_streams_do_not_meet(self) -> None:
        seeds = {
            stream_seed(seed, step, stream=name) for seed in range(20) for step in range(200) for name in ("a.0", "a.1")
        }
        assert len(seeds) == 8000
        assert min(seeds) >= 0
        assert max(seeds) < 2**63


class TestDistributions:
    def test_flip_by_its_probability(self) -> None:
        x = torch.arange(2, dtype=torch.uint8).expand(4000, 1, 1, 2)
        for p in (0.2, 0.5, 1.0):
            share = run([{"name": "flip", "p": p}], x)[:, 0, 0, 0].double().mean()
            assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5 + 1e-9

    @pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("edge", "edge"), ("zeros", "constant")])
    def test_translate_by_every_move_equally_often(self, padding: str, mode: str) -> None:
        image = pictures((1, 3, 6, 5))
        x = image.expand(5000, 3, 6, 5)
        found = run([{"name": "translate", "pixels": 2, "padding": padding}], x, step=1).numpy()
        padded = np.pad(image.numpy()[0], ((0, 0), (2, 2), (2, 2)), mode=mode)
        moves = [padded[:, i : i + 6, j : j + 5] for i in range(5) for j in range(5)]
        counts = np.array([(found == move).all(axis=(1, 2, 3)).sum() for move in moves])
        assert counts.sum() == 5000
        assert ((counts - 200) ** 2 / 200).sum() < 51.2  # chi square, 24 degrees of freedom, 0.001

    def test_crop_to_another_size(self) -> None:
        image = pictures((1, 1, 6, 5))
        found = run([{"name": "crop", "pixels": 1, "size": (4, 7)}], image.expand(500, 1, 6, 5))
        padded = np.pad(image.numpy()[0], ((0, 0), (1, 1), (1, 1)))
        windows = [padded[:, i : i + 4, :7] for i in range(5)]
        counts = [(found.numpy() == window).all(axis=(1, 2, 3)).sum() for window in windows]
        assert found.shape == (500, 1, 4, 7)
        assert sum(counts) == 500
        assert min(counts) > 60

    @pytest.mark.parametrize("fill", ["mean", "zeros"])
    def test_cutout_is_a_whole_square_of_the_training_mean(self, fill: str) -> None:
        images = pictures((600, 3, 8, 6), seed=3)
        images[:, 1] //= 2
        colour = np.round(images.numpy().mean(axis=(0, 2, 3))) if fill == "mean" else np.zeros(3)
        x = torch.full((4000, 3, 8, 6), 255, dtype=torch.uint8)
        found = run([{"name": "cutout", "size": 3, "fill": fill}], x, images=images).numpy()
        np.testing.assert_array_equal((found != 255).sum(axis=(2, 3)), 9)
        assert {tuple(c) for c in found.min(axis=(2, 3))} == {tuple(colour)}
        tops = (found[:, 0] != 255).any(axis=2).argmax(axis=1)
        lefts = (found[:, 0] != 255).any(axis=1).argmax(axis=1)
        counts = np.bincount(tops * 4 + lefts, minlength=24)
        assert ((counts - 4000 / 24) ** 2 / (4000 / 24)).sum() < 49.7  # 23 degrees of freedom, 0.001

    def test_brightness_and_contrast_factors_fill_their_range(self) -> None:
        x = torch.tensor([90, 110], dtype=torch.uint8).expand(3000, 1, 1, 2)
        bright = run([{"name": "brightness", "limit": 0.4}], x)[:, 0, 0, 0] / 90
        contrast = (100 - run([{"name": "contrast", "limit": 0.4}], x)[:, 0, 0, 0]) / 10
        for factor in (bright.double().numpy(), contrast.double().numpy()):
            assert 0.6 - 1e-5 <= factor.min() < 0.605
            assert 1.395 < factor.max() <= 1.4 + 1e-5
            assert abs(factor.mean() - 1) < 0.02

    def test_pixels_stay_in_range(self) -> None:
        found = run([{"name": "brightness", "limit": 1.0}, {"name": "contrast", "limit": 1.0}], pictures((50, 3, 6, 6)))
        assert found.min() >= 0
        assert found.max() <= 255


class TestAlternatingFlip:
    def test_each_image_is_the_other_way_round_every_epoch(self) -> None:
        x = pictures((200, 3, 4, 4))
        epochs = [run(["alternating_flip"], x, epoch=e, step=10 * e) for e in range(4)]
        turned = (epochs[0] != x).flatten(1).any(1)
        assert 70 < turned.sum() < 130
        for before, after in pairwise(epochs):
            assert torch.equal(after, before.flip(-1))

    def test_goes_by_the_row_not_by_the_place_in_the_batch(self) -> None:
        images, rows = pictures((50, 1, 4, 4)), torch.randperm(50, generator=torch.Generator().manual_seed(0))
        whole = run(["alternating_flip"], images, step=0)
        shuffled = run(["alternating_flip"], images[rows], rows=rows, images=images, step=7)
        assert torch.equal(shuffled, whole[rows])
        part = run(["alternating_flip"], images[10:30], rows=slice(10, 30), images=images, step=2)
        assert torch.equal(part, whole[10:30])
        assert not torch.equal(whole, run(["alternating_flip"], images, seed=1))


class TestRandAugment:
    def test_each_image_has_its_own_draws_and_the_global_generator_none(self) -> None:
        x = pictures((1, 3, 12, 12)).expand(20, 3, 12, 12)
        state = torch.random.get_rng_state()
        found = run(["rand_augment"], x)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert found.dtype == torch.uint8
        assert len({image.numpy().tobytes() for image in found}) > 5

    def test_takes_gray_and_float_pixels(self) -> None:
        found = run(["brightness", "rand_augment"], pictures((6, 1, 9, 11)))
        assert found.shape == (6, 1, 9, 11)
        assert found.dtype == torch.uint8


class TestMix:
    def test_mixup_weighs_labels_as_it_weighs_images(self) -> None:
        augment = make_augment(plain({"name": "mixup", "alpha": 1.0}), pictures((32, 1, 2, 2)), seed=0)
        x, y = torch.randn(32, 1, 2, 2), torch.arange(32)
        weights = []
        for step in range(200):
            found, labels = augment.mix(x, y, step=step)
            assert isinstance(labels, Mixed)
            assert labels.weight.shape == ()
            assert torch.equal(labels.y, y)
            assert torch.equal(labels.other.sort().values, y)
            weight = labels.weight.item()
            np.testing.assert_allclose(found, weight * x + (1 - weight) * x[labels.other], rtol=1e-4, atol=1e-5)
            weights.append(weight)
        assert abs(np.mean(weights) - 0.5) < 0.08
        assert abs(np.var(weights) - 1 / 12) < 0.02
        assert len({tuple(augment.mix(x, y, step=s)[1].other.tolist()) for s in range(20)}) == 20

    def test_a_small_alpha_hardly_blends(self) -> None:
        augment = make_augment(plain({"name": "mixup", "alpha": 0.1}), pictures((2, 1, 2, 2)), seed=0)
        x, y = torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
        weights = [augment.mix(x, y, step=s)[1].weight.item() for s in range(400)]
        assert abs(np.var(weights) - 1 / (4 * 1.2)) < 0.02

    def test_cutmix_weighs_labels_by_area(self) -> None:
        augment = make_augment(plain("cutmix"), pictures((8, 1, 10, 6)), seed=0)
        y = torch.arange(8)
        x = y.float().view(8, 1, 1, 1).expand(8, 1, 10, 6)
        weights = []
        for step in range(200):
            found, labels = augment.mix(x, y, step=step)
            own = (found == x).float().mean(dim=(1, 2, 3))
            pasted = (found == labels.other.view(8, 1, 1, 1)).float().mean(dim=(1, 2, 3))
            moved = labels.other != y
            np.testing.assert_allclose(own[moved], labels.weight.item(), atol=1e-6)
            np.testing.assert_allclose(pasted[moved], 1 - labels.weight.item(), atol=1e-6)
            weights.append(labels.weight.item())
        rng, expected = np.random.default_rng(0), []
        for _ in range(4000):
            half = (np.sqrt(1 - rng.random()) * np.array([10, 6])).astype(int) // 2
            centre = rng.integers(0, [10, 6])
            area = np.prod(np.minimum(centre + half, [10, 6]) - np.maximum(centre - half, 0))
            expected.append(1 - area / 60)
        assert abs(np.mean(weights) - np.mean(expected)) < 4 * np.std(expected) / 200**0.5
        assert abs(np.std(weights) - np.std(expected)) < 0.03

    def test_of_both_each_step_does_one(self) -> None:
        augment = make_augment(plain("cutmix", {"name": "mixup", "alpha": 1.0}), pictures((4, 1, 6, 6)), seed=0)
        y = torch.arange(4)
        x = 2.0 ** y.float().view(4, 1, 1, 1).expand(4, 1, 6, 6)
        blended = 0
        for step in range(200):
            found, _ = augment.mix(x, y, step=step)
            # a blend is flat; what was pasted is a value of x
            blended += not torch.isin(found, 2.0 ** y.float()).all().item()
        assert 60 < blended < 140

    def test_without_either_nothing_happens(self) -> None:
        augment = make_augment(plain("flip"), pictures((4, 1, 2, 2)), seed=0)
        x, y = torch.randn(4, 3), torch.arange(4)
        found, labels = augment.mix(x, y, step=0)
        assert found is x
        assert labels is y
        assert not augment.mixes
        assert make_augment(plain("mixup"), pictures((4, 1, 2, 2)), seed=0).mixes

    def test_flat_samples_can_be_blended_but_not_cut(self) -> None:
        x, y = torch.randn(4, 5), torch.arange(4)
        found, labels = make_augment(plain("mixup"), pictures((4, 1, 2, 2)), seed=0).mix(x, y, step=0)
        assert found.shape == (4, 5)
        assert isinstance(labels, Mixed)
        with pytest.raises(ValueError, match="cutmix needs images"):
            make_augment(plain("cutmix"), pictures((4, 1, 2, 2)), seed=0).mix(x, y, step=0)


class TestSmallImagesFirst:
    def test_sizes_have_equal_numbers_of_steps_and_then_images_keep_theirs(self) -> None:
        x = pictures((4, 1, 12, 8))
        steps = [{"name": "resize", "sizes": [4, 6], "until": {"steps": 4}}]
        shapes = [tuple(run(steps, x, step=step).shape[2:]) for step in range(6)]
        assert shapes == [(6, 4), (6, 4), (9, 6), (9, 6), (12, 8), (12, 8)]
        assert torch.equal(run(steps, x, step=4), x)

    def test_it_comes_after_the_others_wherever_it_stands(self) -> None:
        x = pictures((4, 3, 12, 12))
        small = {"name": "resize", "sizes": [5], "until": {"steps": 4}}
        first, last = (run(steps, x) for steps in ([small, "translate"], ["translate", small]))
        assert torch.equal(first, last)
        assert torch.equal(first, resize(run(["translate"], x), 5))


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("step", "path", "message"),
        [
            ({"name": "translate", "pixels": 5}, "data.augment.1.pixels", "give at most 4, or padding: edge"),
            ({"name": "crop", "pixels": 5, "padding": "reflect"}, "data.augment.1.pixels", "5 mirrored pixels"),
            ({"name": "crop", "pixels": 1, "size": (11, 2)}, "data.augment.1.size", "11x2 in an image of 10x7"),
            ({"name": "cutout", "size": 6}, "data.augment.1.size", "a square of 6 in an image of 8x5"),
            (
                {"name": "resize", "sizes": [4, 5], "until": {"steps": 4}},
                "data.augment.1.sizes.1",
                "5 is not smaller than the images, whose shorter side is 5; give at most 4",
            ),
        ],
    )
    def test_is_said_with_its_key(self, step: Any, path: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            make_augment(plain("flip", step), pictures((2, 3, 8, 5)), seed=0)
        assert caught.value.problems[0].path == path

    def test_unknown_names(self) -> None:
        with pytest.raises(ValueError, match="no augmentation is called 'shear'"):
            make_augment([{"name": "shear"}], pictures((2, 3, 8, 5)), seed=0)

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            (["flip", "alternating_flip"], "alternating_flip does not go together with flip"),
            (["mixup", "flip", "mixup"], "mixup is given twice"),
            ([{"name": "flip", "p": 0.0}], "greater than 0"),
            ([{"name": "cutout"}], "Field required"),
            ([{"name": "brightness", "limit": 1.5}], "less than or equal to 1"),
            ([{"name": "rand_augment", "magnitude": 31}], "less than or equal to 30"),
            ([{"name": "cutmix", "alpha": 0.0}], "greater than 0"),
            ([{"name": "resize", "sizes": [], "until": {"steps": 1}}], "at least 1 item"),
            ([{"name": "resize", "sizes": [2]}], "Field required"),
            ([{"name": "resize", "sizes": [4, 2], "until": {"steps": 1}}], r"got \[4, 2\], give \[2, 4\]"),
            ([{"name": "resize", "sizes": [2, 2], "until": {"steps": 1}}], "must be larger than the one before"),
            ([{"name": "resize", "sizes": [2], "until": {"steps": 1}}] * 2, "resize is given twice"),
        ],
    )
    def test_configs(self, steps: Sequence[Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            plain(*steps)


@pytest.mark.gpu
class TestOnAGpu:
    def test_nothing_waits_and_equal_steps_are_equal(self) -> None:
        images = pictures((64, 3, 32, 32)).cuda()
        steps = [step for step in EVERY if step["name"] not in ("flip", "rand_augment")]
        augment = make_augment(plain("alternating_flip", *steps), images, seed=0)
        rows, y = torch.randperm(64, device="cuda")[:16], torch.arange(16, device="cuda")
        x = images.index_select(0, rows)
        results = []
        with waiting_is_an_error():
            for step in (0, 1, 2, 3, 0):
                pixels = augment.pixels(x, rows, epoch=step, step=step)
                results.append(augment.mix(pixels, y, step=step))
        assert torch.equal(results[0][0], results[4][0])
        assert not torch.equal(results[0][0], results[1][0])
