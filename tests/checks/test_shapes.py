"""check_fit refuses what training would stumble over, and says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlassign.checks import memory, shapes
from dlassign.checks.shapes import check_fit
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight 16x16 images for training and two for the test."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / part / name / f"{i}.png")
    return root


def config(images: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"name": "image_folder", "root": str(images), "cache": str(images / "cache")},
        "model": {"name": "vgg", "stages": [[4]]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 6, "batch_size": 4},
        "device": "cpu",
    }
    for key, value in changes.items():
        section, _, leaf = key.partition("__")
        values[section] = {**values[section], leaf: value} if leaf else value
    return RunConfig.model_validate(values)


def problem(images: Path, **changes: Any) -> tuple[str | None, str]:
    with pytest.raises(ConfigError) as caught:
        check_fit(config(images, **changes))
    [found] = caught.value.problems
    return found.path, found.message


def test_a_good_config_fits(images: Path) -> None:
    assert check_fit(config(images)).in_shape == (3, 16, 16)


CROP = [{"name": "flip"}, {"name": "crop", "pixels": 0, "size": [12, 12]}]


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ({"name": "vgg", "stages": [[4]]}, "would need other weights; leave size out"),
        ({"name": "mlp"}, "would need other weights"),
        (
            {"name": "whitened_cnn", "widths": [8, 8, 8], "depths": [1, 1, 1], "patch": 8, "stride": 2},
            "the model cannot take",
        ),
    ],
)
def test_a_crop_to_a_size_that_the_model_cannot_take(images: Path, model: dict[str, Any], part: str) -> None:
    path, message = problem(images, model=model, data__augment=CROP)
    assert path == "data.augment.1.size"
    assert message.startswith("images of 3x16x16 become 3x12x12")
    assert part in message


def test_a_crop_is_fine_where_all_sizes_are(images: Path) -> None:
    model = {"name": "vgg", "stages": [[4]], "global_pool": "avg"}
    assert check_fit(config(images, model=model, data__augment=CROP)).plan.steps == 6


def test_a_crop_and_a_mean_image(images: Path) -> None:
    data = {**config(images).data.model_dump(), "augment": CROP, "preprocess": [{"name": "mean_image"}]}
    path, message = problem(images, model={"name": "vgg", "stages": [[4]], "global_pool": "max"}, data=data)
    assert (path, "mean_image needs them" in message) == ("data.augment.1.size", True)


@pytest.mark.parametrize("step", [{"name": "flatten"}, {"name": "pca", "components": 3}])
def test_augmentation_of_rows(images: Path, step: dict[str, Any]) -> None:
    data = {**config(images).data.model_dump(), "augment": [{"name": "flip"}], "preprocess": [step]}
    path, message = problem(images, model={"name": "mlp"}, data=data)
    assert path == "data.augment"
    assert step["name"] in message


def small_first(images: Path, sizes: list[int], **changes: Any) -> tuple[str, str]:
    augment = [{"name": "resize", "sizes": sizes, "until": {"steps": 2}}]
    return problem(images, data={**config(images).data.model_dump(), "augment": augment}, **changes)


WHITENED = {"name": "whitened_cnn", "widths": [8, 8], "depths": [1, 1]}


def test_small_images_that_the_model_cannot_take(images: Path) -> None:
    path, message = small_first(images, [4, 8], model=WHITENED)
    assert path == "data.augment.0.sizes.0"
    assert "2 pools leave nothing of 3x3" in message
    assert message.endswith("make it larger, or remove resize")


def test_small_images_for_a_model_of_one_size(images: Path) -> None:
    path, message = small_first(images, [8], model={"name": "mlp", "hidden": [4]})
    assert path == "data.augment.0.sizes.0"
    assert message.endswith("would need other weights; use a model with a global pool, or remove resize")


def test_images_of_no_size_that_the_model_can_take_are_one_problem(images: Path) -> None:
    path, _ = small_first(images, [4, 8], model={"name": "whitened_cnn", "widths": [8] * 6, "depths": [1] * 6})
    assert path.startswith("model")


@pytest.mark.parametrize("sizes", [[6, 8, 10], [6, 8, 10, 12]])
def test_sizes_that_no_step_would_see(images: Path, sizes: list[int]) -> None:
    path, message = small_first(images, sizes, model=WHITENED)
    assert path == "data.augment.0.sizes"
    assert message.startswith(f"{len(sizes)} sizes in the 2 steps before `until`")
    assert message.endswith("give at most 2, or a later `until`")


def test_views_larger_than_the_image(images: Path) -> None:
    path, message = problem(images, train__test_time_augmentation={"shift": 16})
    assert path == "train.test_time_augmentation.shift"
    assert "at most 15" in message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"train__average": {"name": "ema", "every": 7}}, "train.average.every"),
        ({"train__average": {"name": "lookahead", "every": 7}}, "train.average.every"),
        *(
            ({"train": {"steps": 6, "batch_size": 4, "freeze": "body", key: {"steps": 6}}}, f"train.{key}")
            for key in ("freeze_at", "unfreeze_at")
        ),
    ],
)
def test_what_would_begin_after_the_end(images: Path, changes: dict[str, Any], path: str) -> None:
    assert problem(images, **changes)[0] == path


def test_whole_images_that_would_begin_after_the_end(images: Path) -> None:
    path, message = small_first(images, [8], model=WHITENED, train={"steps": 2, "batch_size": 4})
    assert path == "data.augment.0.until"
    assert "step 2 is not before the end of training, step 2" in message


def test_parts_of_one_sample_and_batch_norm(images: Path) -> None:
    path, message = problem(images, train__accumulate=3)
    assert path == "train.accumulate"
    assert message.endswith("use at most 2 parts, or a larger batch")
    path, message = problem(images, train__accumulate=2, train__batch_size=2)
    assert path == "train.accumulate"
    assert message.endswith("set train.accumulate: 1, or a larger batch")


def test_single_samples_and_batch_norm(images: Path) -> None:
    path, message = problem(images, train__batch_size=1, train__drop_last=True)
    assert path == "train.batch_size"
    assert message.endswith("are each a batch of 1; use a larger batch size")


def test_a_patch_larger_than_the_image(images: Path) -> None:
    path, message = problem(images, model={"name": "whitened_cnn", "widths": [8], "depths": [1], "patch": 17})
    assert (path, message) == ("model.patch", "patch 17 is larger than the image, 16x16; use a smaller one")


@pytest.mark.parametrize("order", ["with_replacement", "shuffled"])
def test_memory_is_that_of_the_samples_a_step_sees(images: Path, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    seen = []
    monkeypatch.setattr(shapes, "check_step_memory", lambda **values: seen.append(values["batch_size"]))
    size = 10**9 if order == "with_replacement" else 4
    check_fit(config(images, train={"steps": 6, "batch_size": size, "order": order}))
    assert seen == [size]


def test_a_batch_that_does_not_fit_is_refused(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device: 2**20)
    path, message = problem(images, train={"steps": 6, "batch_size": 1024, "order": "with_replacement"})
    assert path == "train.batch_size"
    assert "train.accumulate" in message


def test_weights_gradients_slots_and_averages_are_counted(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam keeps two numbers for each parameter, frozen or not; gradients and averages are those of trained ones."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(shapes, "check_step_memory", lambda **values: seen.append(values))
    n = check_fit(config(images, optimizer={"name": "adam"})).n_params or 0
    head = 4 * 8 * 8 * 2 + 2
    train = {"steps": 6, "batch_size": 4, "freeze": ("head*",), "average": {"name": "ema"}}
    check_fit(config(images, optimizer={"name": "adam"}, train=train))
    counters = 4 * 10  # Adam counts the updates of each of few parameters
    assert 0 <= seen[0]["weights"] - 4 * 4 * n <= counters
    assert 0 <= seen[1]["weights"] - 4 * (3 * n + 2 * (n - head)) <= counters
    assert (seen[0]["placed"], seen[0]["data"]) == (4 * n, 20 * 3 * 16 * 16)


def test_fp16_on_the_cpu_is_refused_for_any_model(images: Path) -> None:
    assert problem(images, model={"name": "mlp"}, train__precision="fp16")[0] == "train.precision"


def test_checking_draws_no_random_numbers(images: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_fit(config(images))
    assert torch.equal(torch.rand(1), expected)


def test_pca_before_a_convolution_is_refused_as_in_training(images: Path) -> None:
    for components in (0.5, 3):
        steps = [{"name": "pca", "components": components}]
        with pytest.raises(
            ConfigError, match="pca makes rows of the samples, and vgg needs images; use mlp, or remove pca"
        ):
            check_fit(config(images, data__preprocess=steps))


def test_more_components_than_samples_are_refused_as_in_training(images: Path) -> None:
    cfg = config(images, model={"name": "mlp"}, data__preprocess=[{"name": "pca", "components": 17}])
    with pytest.raises(ConfigError, match="17 components of 16 training samples; give at most 16"):
        check_fit(cfg)


def test_a_device_that_is_not_there_is_refused_as_in_training(images: Path) -> None:
    with pytest.raises(ConfigError, match="cuda:93 is not there"):
        check_fit(config(images, model={"name": "mlp"}, device="cuda:93"))


def test_padding_wider_than_the_image_is_refused(images: Path) -> None:
    with pytest.raises(ConfigError, match="17 pixels around an image with 16; give at most 16"):
        check_fit(config(images, data__augment=[{"name": "crop", "pixels": 17}]))
