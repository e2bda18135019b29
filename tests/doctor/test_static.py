"""The static stage: every fault that a config or its data shows is planted and named first; healthy ones are quiet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.config.data import CIFAR10, MNIST, CSVTable, ImageFolder
from dlassign.config.load import dump_plain, load_config, locate, parse_config
from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.load import find_images, load_dataset
from dlassign.doctor.facts import gather
from dlassign.doctor.finding import Finding, ranked
from dlassign.doctor.rules import RULES
from dlassign.doctor.static import static_findings
from dlassign.launch.diagnosing import overrides_of
from helpers.runs import with_changes

ROOT = Path(__file__).parents[2]
HEALTHY: dict[str, Any] = {
    "name": "healthy",
    "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16.0}]},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "train": {"epochs": 20, "batch_size": 64},
}
SGD = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
NORMALISED = {"name": "normalize", "mean": [0.1307], "std": [0.3081]}
GROUP = {"name": "adam", "lr": 1e-3, "groups": [{"params": ["linear1.*"], "lr_factor": 1e-12}]}

PLANTED: list[tuple[str, dict[str, Any]]] = [
    ("double_softmax", {"loss": {"name": "double_softmax"}}),
    ("linear_net", {"model.activation": "identity"}),
    ("signal_lost", {"model.hidden": [64] * 8, "model.activation": "sigmoid"}),
    ("init_too_small", {"init": {"name": "normal", "std": 1e-4}}),
    ("init_too_small", {**SGD, "init": {"name": "normal", "std": 1e-4}, "model.hidden": [64, 64, 64]}),
    (
        "init_too_small",
        {"init": {"name": "normal", "std": 1e-3}, "model.hidden": [50, 70, 50], "optimizer.weight_decay": 1e-3},
    ),
    ("init_too_large", {"init": {"name": "normal", "std": 1.0}}),
    ("scaled_twice", {"data.preprocess": [{"name": "scale", "divisor": 16.0}, {"name": "scale", "divisor": 16.0}]}),
    ("scaled_twice", {"data.preprocess": [{"name": "scale", "divisor": 4080.0}]}),
    ("scaled_twice", {"data.preprocess": [{"name": "scale", "divisor": 255.0}]}),
    ("normalize_constants", {"data.preprocess": [{"name": "scale", "divisor": 16.0}, NORMALISED]}),
    ("normalize_constants", {"data.preprocess": [{"name": "scale", "divisor": 16.0}, {**NORMALISED, "mean": [1.3]}]}),
    ("inputs_not_scaled", {"data.preprocess": [{"name": "scale", "divisor": 0.1}], "model.norm": "batch"}),
    ("penalty_too_strong", {"loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1.0}]}}),
    ("penalty_too_strong", {"optimizer.weight_decay": 1.0}),
    ("penalty_too_strong", {"optimizer": {"name": "rmsprop", "lr": 1e-3, "weight_decay": 1.0}}),
    ("penalty_too_strong", {"optimizer.weight_decay": 1.0, "model.norm": "batch"}),
    ("penalty_too_strong", {"model.hidden": [], "optimizer.weight_decay": 30.0}),
    ("dropout_high", {"model.dropout": 0.95}),
    ("dropout_high", {"model.dropout": [0.8, 0.1]}),
    ("batch_norm_small_batch", {"model.norm": "batch", "train.batch_size": 2}),
    ("batch_norm_small_batch", {"model.norm": "batch", "train.batch_size": 2, "data.split": {"train": 40, "val": 300}}),
    ("label_smoothing_high", {"loss": {"name": "cross_entropy", "label_smoothing": 0.9}}),
    ("warmup_long", {"schedule": {"name": "constant", "warmup": {"epochs": 30}}}),
    ("warmup_long", {"schedule": {"name": "cosine", "warmup": {"epochs": 15}}}),
    ("lr_vanishes", {"schedule": {"name": "exponential", "gamma": 0.1}}),
    ("lr_vanishes", {"schedule": {"name": "step", "every": {"epochs": 1}, "gamma": 0.1}}),
    ("eps_large", {"optimizer.eps": 1.0}),
    ("momentum_high", {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.999}}),
    ("momentum_high", {"optimizer.betas": [0.999, 0.999]}),
    ("bottleneck", {"model.hidden": [1]}),
    ("bottleneck", {"model.hidden": [64, 1, 64]}),
    ("frozen", {"optimizer": GROUP}),
    ("frozen", {"train.freeze": "body"}),
    ("lr_too_large", {"optimizer.lr": 0.1}),
    ("lr_too_large", {"optimizer": {"name": "sgd", "lr": 10.0}}),
    ("lr_too_large", {"optimizer": {"name": "rmsprop", "lr": 0.02, "momentum": 0.9}}),
    ("lr_too_large", {"model.hidden": [], "optimizer": {"name": "sgd", "lr": 300.0}}),
    ("lr_too_small", {"optimizer.lr": 1e-7}),
    ("lr_too_small", {"optimizer": {"name": "sgd", "lr": 1e-5}}),
    ("lr_too_small", {"optimizer": {"name": "sgd", "lr": 1e-5, "momentum": 0.9}, "model.norm": "batch"}),
    ("lr_too_small", {"model.hidden": [], "optimizer": {"name": "sgd", "lr": 1e-6}}),
    ("flipped_digits", {"data.augment": [{"name": "flip"}]}),
    ("validation_small", {"data.split": {"val": 50}}),
    ("validation_small", {"data.split": {"val": 200, "train": 1000}}),
    ("test_watched", {"train.evaluate": ["val", "test"]}),
]


def findings(values: dict[str, Any], raw: Any = None) -> list[Finding]:
    return ranked(static_findings(gather(RunConfig.model_validate(values), raw=raw)))


@pytest.mark.parametrize(("rule", "changes"), PLANTED, ids=[rule for rule, _ in PLANTED])
def test_a_planted_fault_is_named_first(rule: str, changes: dict[str, Any]) -> None:
    values = with_changes(HEALTHY, changes)
    found = findings(values)
    assert [one.rule for one in found][:1] == [rule]
    assert "static" in RULES[rule].stages
    assert found[0].statistic
    assert found[0].null


@pytest.mark.parametrize(("rule", "changes"), PLANTED, ids=[rule for rule, _ in PLANTED])
def test_a_cure_removes_its_finding(rule: str, changes: dict[str, Any]) -> None:
    values = with_changes(HEALTHY, changes)
    found = findings(values)[0]
    cured = locate(parse_config(dump_plain(values), "ill.yaml"), overrides_of(found.cure)).config
    assert found.cure
    assert rule not in [one.rule for one in ranked(static_findings(gather(cured)))]


@pytest.mark.parametrize("model", [{"hidden": [64], "norm": "batch"}, {"hidden": []}])
def test_a_training_that_is_short_has_no_smaller_rate_as_its_cure(model: dict[str, Any]) -> None:
    short = {"optimizer": {"name": "sgd", "lr": 0.2}, "train": {"steps": 1, "batch_size": 64}}
    scaled = {"data.preprocess": [{"name": "scale", "divisor": 64.0}]}
    [found] = [
        one
        for one in findings(with_changes(HEALTHY, {**short, **scaled, "model": {"name": "mlp", **model}}))
        if one.rule == "lr_too_small"
    ]
    assert float(found.cure.rpartition("=")[2]) >= 0.2


def test_the_healthy_config_is_quiet() -> None:
    assert findings(HEALTHY) == []


QUIET: list[dict[str, Any]] = [
    SGD,
    {"data.preprocess": [{"name": "scale", "divisor": 16.0}, {"name": "normalize"}]},
    {"data.preprocess": [{"name": "mean_image"}], "model.norm": "batch"},
    {"data.preprocess": None, "model.norm": "layer"},
    {"data.preprocess": [{"name": "scale", "divisor": 16.0}, {"name": "pca", "components": 20}]},
    {"model.activation": "tanh", "init": {"name": "xavier"}},
    {"model.hidden": [16], "optimizer.lr": 0.01},
    {"model.hidden": [], "optimizer": {"name": "sgd", "lr": 0.5}},
    {"model.dropout": 0.5},
    {"optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.05}, "schedule": {"name": "one_cycle"}},
    {"optimizer.weight_decay": 1e-4},
    {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
    {"loss": {"name": "multiclass_hinge"}},
    {"schedule": {"name": "exponential", "gamma": 0.9}},
    {"schedule": {"name": "cosine", "warmup": {"epochs": 2}}},
    {"model.hidden": [64] * 6},
    {"model.hidden": [64] * 3, "model.activation": "sigmoid"},
    {"data.augment": [{"name": "translate", "pixels": 1}]},
    {"train.freeze": "body", "train.freeze_at": {"epochs": 2}},
]


@pytest.mark.parametrize("changes", QUIET, ids=lambda changes: ", ".join(changes))
def test_healthy_variations_get_no_more_than_a_hint(changes: dict[str, Any]) -> None:
    values = with_changes(HEALTHY, changes)
    assert [one for one in findings(values) if one.certainty != "hint"] == []


KNOWN_MISTAKES = {
    "lesson_double_softmax": "double_softmax",
    "uva2018_mlp": "double_softmax",
    "uva2018_mlp_default_double_softmax": "double_softmax",
    "lesson_collapse": "init_too_small",
    "hlcv_h4_model_6_batch200": "init_too_small",
    "hlcv_h4_model_6_batch200_4900": "init_too_small",
    "hlcv_h4_model_7": "init_too_small",
    "lesson_misread": "dropout_high",
    "lesson_batch_norm_2": "batch_norm_small_batch",
    "lesson_elu_large": "init_too_large",
}
"""What reports and lessons get wrong, so that it can be seen: each is named, and by its own name."""
FILES = [
    file for folder in ("fast", "lessons", "reports") for file in sorted((ROOT / "configs" / folder).rglob("*.yaml"))
]
FILES += sorted((ROOT / "configs").glob("*.yaml"))


def test_shipped_configs_that_need_no_data_are_quiet_but_for_known_mistakes() -> None:
    for cfg in map(load_config, FILES):
        if not isinstance(cfg.data, CIFAR10 | MNIST | CSVTable):
            sure = [one.rule for one in ranked(static_findings(gather(cfg))) if one.certainty != "hint"]
            assert sure == [rule for name, rule in KNOWN_MISTAKES.items() if name == cfg.name]


@pytest.mark.data
def test_of_all_shipped_configs_at_most_two_in_a_hundred_are_called_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    data, kept = ROOT.parent / "shared" / "data", {}
    folder = {"name": "image_folder", "root": str(data / "cifar10-jpeg"), "shuffle_seed": 0}
    places = {"cifar10": folder, "mnist": {"root": str(data)}, "csv_table": {"path": str(data / "binary20/data.csv")}}

    def once(cfg: Any, *, images: Any = None, raw: Any = None) -> Any:
        key = cfg.model_dump_json(exclude={"preprocess", "augment", "balance"})
        if key not in kept:
            kept.clear()
            kept[key] = load_dataset(cfg, images=images, raw=raw)
        return kept[key]

    monkeypatch.setattr("dlassign.doctor.facts.load_dataset", once)
    images = find_images(ImageFolder.model_validate({**folder, "split": {"val": 5000}}))
    monkeypatch.setattr("dlassign.doctor.facts.find_images", lambda cfg: images if cfg.name == folder["name"] else None)
    wrong = []
    for file in FILES:
        values = load_config(file).model_dump(mode="json")
        own = {key: values["data"][key] for key in ("split", "preprocess", "augment", "balance")}
        changed = {**values["data"], **places.get(values["data"]["name"], {})}
        changed = {**changed, **own} if values["data"]["name"] != "cifar10" else {**folder, **own}
        sure = [one for one in findings({**values, "data": changed}) if one.certainty != "hint"]
        known = KNOWN_MISTAKES.get(values["name"])
        assert known is None or sure[0].rule == known, file
        wrong += [file] if sure and known is None else []
    assert len(wrong) <= 0.02 * len(FILES), wrong


def table(n: int = 400, d: int = 6, classes: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Rows that a net can tell apart: one centre for each class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(classes, d))[y] + rng.normal(size=(n, d)), y


def of_arrays(x: Any, y: Any, changes: dict[str, Any] | None = None, **given: Any) -> list[Finding]:
    data = {"name": "arrays", "given": list(given), "split": {"val": 0.2}}
    if not given:
        data["split"]["test"] = 0.2
    values = with_changes({**HEALTHY, "data": data}, changes)
    return findings(values, raw_of_arrays(x, y, **given))


class TestData:
    def test_a_healthy_table_is_quiet(self) -> None:
        x, y = table()
        assert [one for one in of_arrays(x, y) if one.certainty != "hint"] == []

    def test_inputs_that_are_not_scaled(self) -> None:
        x = np.random.default_rng(0).integers(0, 256, (400, 1, 6, 6)).astype(np.uint8)
        [first, *_] = of_arrays(x, np.arange(400) % 4)
        assert (first.rule, first.certainty) == ("inputs_not_scaled", "likely")
        assert "divisor: 255.0" in first.cure

    def test_a_divisor_that_is_too_small_gives_way_to_the_largest_value(self) -> None:
        values = with_changes(HEALTHY, {"data.preprocess": [{"name": "scale", "divisor": 0.01}]})
        found = {one.rule: one for one in findings(values)}
        assert found["inputs_not_scaled"].cure == "--set 'data.preprocess=[{name: scale, divisor: 16.0}]'"

    def test_one_feature_that_is_much_larger(self) -> None:
        x, y = table()
        x[:, 2] = 1e4 * x[:, 2]
        assert of_arrays(x, y)[0].rule == "inputs_not_scaled"
        scaled = of_arrays(x, y, {"data.preprocess": [{"name": "normalize"}]})
        assert "inputs_not_scaled" not in [one.rule for one in scaled]

    @pytest.mark.parametrize("hidden", [[], [64, 64]])
    def test_inputs_that_hardly_differ_are_no_fault_of_the_layers(self, hidden: list[int]) -> None:
        x, y = table()
        times = np.column_stack([1.6e9 + 1e4 * x[:, 0], 1.6e9 + 1e4 * x[:, 1]])
        found = {one.rule: one for one in of_arrays(times, y, {"model.hidden": hidden})}
        assert "signal_lost" not in found
        # Each column for itself: one divisor would leave nothing of another one of the usual size.
        assert found["inputs_not_scaled"].cure == "--set 'data.preprocess=[{name: normalize}]'"
        cured = of_arrays(times, y, {"model.hidden": hidden, "data.preprocess": [{"name": "normalize"}]})
        assert [one.rule for one in cured if one.rule != "validation_small"] == []
        assert "signal_lost" not in [one.rule for one in of_arrays(np.zeros_like(x), y, {"model.hidden": hidden})]

    def test_a_class_is_missing_in_train(self) -> None:
        x, y = table()
        ill = of_arrays(x[y != 3], y[y != 3], {"data.split": {"val": 0.2}}, test=(x, y))
        assert (ill[0].rule, ill[0].certainty) == ("class_missing", "certain")

    def test_imbalance_and_its_cure(self) -> None:
        x, y = table(2000, classes=2)
        keep = (y == 0) | (np.arange(2000) % 100 == 0)
        ill = of_arrays(x[keep], y[keep])
        assert ill[0].rule == "class_imbalance"
        assert ill[0].cure == "--set loss.class_weight=balanced"
        cured = of_arrays(x[keep], y[keep], {"loss": {"name": "cross_entropy", "class_weight": "balanced"}})
        assert "class_imbalance" not in [one.rule for one in cured]

    def test_a_sorted_file_that_is_split_by_position(self) -> None:
        x, y = table(1000)
        order = np.argsort(y, kind="stable")
        ill = of_arrays(x[order], y[order], {"data.split.by": "position"})
        assert (ill[0].rule, ill[0].cure) == ("sorted_split", "--set data.split.by=stratified")
        # That the splits look unlike each other follows from it.
        assert "unlike_train" not in [one.rule for one in ill]

    def test_training_samples_in_the_test_set(self) -> None:
        x, y = table()
        other = table(100, seed=1)
        ill = of_arrays(x, y, test=(np.concatenate([other[0], x[:30]]), np.concatenate([other[1], y[:30]])))
        assert (ill[0].rule, ill[0].certainty) == ("leak", "certain")

    def test_equal_samples_with_two_labels(self) -> None:
        x, y = table()
        ill = of_arrays(np.concatenate([x, x[:20]]), np.concatenate([y, (y[:20] + 1) % 4]))
        assert "two_labels" in [one.rule for one in ill[:3]]

    def test_a_column_that_is_the_label(self) -> None:
        x, y = table(800)
        ill = of_arrays(np.column_stack([x, y]), y)
        assert ill[0].rule == "leaking_column"

    def test_an_inverted_test_set(self) -> None:
        rng = np.random.default_rng(0)
        x = np.clip(rng.normal(60, 25, (600, 1, 8, 8)), 0, 255).astype(np.uint8)
        changes = {"data.preprocess": [{"name": "scale"}], "data.split": {"val": 0.3}}
        ill = of_arrays(x, np.arange(600) % 4, changes, test=(255 - x[:200], np.arange(200) % 4))
        assert (ill[0].rule, ill[0].certainty) == ("unlike_train", "certain")

    @pytest.mark.parametrize("rule", ["inputs_not_scaled", "class_imbalance", "sorted_split"])
    def test_a_cure_removes_what_is_wrong_with_the_data(self, rule: str) -> None:
        x, y = table(1000, classes=2)
        changes: dict[str, Any] = {}
        if rule == "inputs_not_scaled":
            x = x * 1e3 + 1e4
        elif rule == "class_imbalance":
            keep = (y == 0) | (np.arange(1000) % 40 == 0)
            x, y = x[keep], y[keep]
        else:
            x, y, changes = x[np.argsort(y)], np.sort(y), {"data.split.by": "position"}
        data = {"name": "arrays", "split": {"val": 0.2, "test": 0.2}}
        values, raw = with_changes({**HEALTHY, "data": data}, changes), raw_of_arrays(x, y)
        [found] = [one for one in findings(values, raw) if one.rule == rule]
        cured = locate(parse_config(dump_plain(values), "ill.yaml"), overrides_of(found.cure)).config
        assert rule not in [one.rule for one in ranked(static_findings(gather(cured, raw=raw)))]

    def test_few_samples_are_no_fault(self) -> None:
        changes = {"data.split": {"val": None, "test": None}, "train.batch_size": 2, "train.epochs": 400}
        assert of_arrays(np.array([[0.5, 1.0], [1.0, 0.5]]), np.array([0, 1]), changes) == []

    def test_small_numbers_of_validation_have_the_cure_that_the_data_allows(self) -> None:
        x, y = table(500)
        few = {one.rule: one for one in of_arrays(x, y, {"data.split": {"val": 100}})}["validation_small"]
        assert (few.cure, few.null) == ("--set data.split.val=225", "at most 2 points, with 225 samples or more")
        given = {one.rule: one for one in of_arrays(x, y, {"data.split": {}}, val=table(100, seed=1))}
        assert given["validation_small"].cure == ""
        assert "validation_small" not in [one.rule for one in of_arrays(x, y, {"data.split": {"val": 225}})]

    def test_data_that_is_not_there_leaves_what_the_config_tells(self) -> None:
        values = with_changes(HEALTHY, {"data": {"name": "mnist", "root": "nowhere"}, "loss.name": "double_softmax"})
        facts = gather(RunConfig.model_validate(values))
        assert [one.rule for one in ranked(static_findings(facts))] == ["double_softmax"]
        assert "the data was not looked at: mnist: all 4 files are missing" in facts.notes[0]


def test_what_is_measured_of_a_learning_rate_is_what_is_held_against_its_bound() -> None:
    sgd = with_changes(HEALTHY, {"optimizer": {"name": "sgd", "lr": 5.0, "momentum": 0.8}})
    [first, *_] = findings(sgd)
    assert (first.rule, first.statistic) == ("lr_too_large", "lr / (1 - momentum) at the schedule's peak: 25")
    rms = with_changes(HEALTHY, {"optimizer": {"name": "rmsprop", "lr": 0.02, "momentum": 0.9}})
    assert findings(rms)[0].statistic == "size of a step at the schedule's peak: 0.2"
    slow = {"optimizer": {"name": "rmsprop", "lr": 2e-5, "momentum": 0.9}, "train": {"steps": 100, "batch_size": 64}}
    assert "lr_too_small" not in [one.rule for one in findings(with_changes(HEALTHY, slow))]


def test_no_torch_is_imported() -> None:
    code = "import sys, dlassign.doctor.static, dlassign.doctor.facts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_rounding_makes_zero_is_no_measurement() -> None:
    found = findings(with_changes(HEALTHY, {"model.hidden": [64] * 10, "model.activation": "sigmoid"}))
    [lost] = [one for one in found if one.rule == "signal_lost"]
    assert lost.statistic == "less than 1e-07 of the scores' size differs between samples"
    assert lost.cure == "--set model.activation=relu --set 'init={name: he}'"
