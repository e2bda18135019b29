"""Every experiment of the five reports has a config with its settings, and a table row with its reported numbers.

The rows below are written from the reports and the courses' own material, not from the configs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.config.load_table import LocatedTable, load_table

CONFIGS = Path(__file__).parents[1] / "configs"
Figures = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Row:
    """A numbered experiment: where it is described, its table and row, and what it must have."""

    section: str
    table: str
    name: str
    params: int
    settings: Mapping[str, Any]
    reported: Figures = field(default=())

    @property
    def config(self) -> Path:
        file = re.sub(r"e_(\d)$", r"e-\1", self.name)  # row names have no minus
        return CONFIGS / "reports" / self.table / f"{file}.yaml"


def uva(hidden: tuple[int, ...], steps: int, batch: int = 200, **more: Any) -> dict[str, Any]:
    return {"model.hidden": hidden, "train.steps": steps, "train.batch_size": batch, "train.order": "uva"} | {
        key.replace("__", "."): value for key, value in more.items()
    }


def rule(name: str, lr: float, **more: Any) -> dict[str, Any]:
    return {"optimizer.name": name, "optimizer.lr": lr} | {f"optimizer.{key}": value for key, value in more.items()}


SGD_2E3, SGD_1E3, ADAM_1E3, ADAM_1E4 = rule("sgd", 2e-3), rule("sgd", 1e-3), rule("adam", 1e-3), rule("adam", 1e-4)
FINAL = (1000, 800, 600, 400)
NORM = {"l2": {"coefficient": 1e-4, "squared": False, "on": "all"}}

UVA_2018 = (
    Row(
        "1.1",
        "uva2018",
        "numpy_mlp",
        308_310,
        uva((100,), 1500, backend="numpy", model__activation="relu", init__std=1e-4) | SGD_2E3,
        (("test best", 0.4720), ("test last", 0.4645), ("train last", 0.4700)),
    ),
    Row("1.3.1", "uva2018", "mlp_default", 308_310, uva((100,), 1500, loss__name="cross_entropy") | SGD_2E3),
    Row(
        "1.3.1",
        "uva2018",
        "mlp_default_double_softmax",
        308_310,
        uva((100,), 1500, loss__name="double_softmax") | SGD_2E3,
        (("test last", 0.177),),
    ),
    Row(
        "1.3.3",
        "uva2018",
        "mlp",
        4_598_810,
        uva(FINAL, 20_000, 3000, loss__name="double_softmax", model__dropout=0.1, penalty=NORM) | ADAM_1E4,
        # the last loss is cross-entropy and penalty
        (
            *(("test best", 0.5833), ("test last", 0.5810), ("train last", 0.9553), ("loss last", 1.506060 + 0.008257)),
            *(("test last", value) for value in (0.5601, 0.5690, 0.5738, 0.5796, 0.5813)),
        ),
    ),
    Row(
        "1.3.3",
        "uva2018",
        "mlp_logits",
        4_598_810,
        uva(FINAL, 20_000, 3000, loss__name="cross_entropy", model__dropout=0.1, penalty=NORM) | ADAM_1E4,
    ),
    Row("1.4", "uva2018", "mlp_batch_manual", 308_510, uva((100,), 1500, model__norm="batch_manual")),
    Row(
        "1.5",
        "uva2018",
        "vgg",
        9_231_114,
        {"model.name": "vgg", "train.steps": 5000, "train.batch_size": 32, **ADAM_1E4},
        (("test best", 0.7805), ("test last", 0.7618), ("test last", 0.5748), ("test last", 0.7299)),
    ),
    Row(
        "1.5",
        "uva2018",
        "vgg_fp32",
        9_231_114,
        {"model.name": "vgg", "train.steps": 5000, "train.precision": "fp32", **ADAM_1E4},
        (("test best", 0.7805), ("test last", 0.7618)),
    ),
)


def table1(
    name: str, hidden: tuple[int, ...], steps: int, params: int, percent: float, *, rule: dict[str, Any], norm: str
) -> Row:
    activation = "relu" if name.endswith("relu") else "elu"
    settings = uva(hidden, steps, model__activation=activation, model__norm=norm, init__name="pytorch")
    return Row("2.2", "uva2020", f"table1_{name}", params, settings | rule, (("test last", percent / 100),))


TABLE_1 = (
    table1("sgd_elu", (100,), 1400, 308_310, 46.11, rule=SGD_1E3, norm="none"),
    table1("adam_elu", (100,), 1400, 308_310, 45.89, rule=ADAM_1E3, norm="none"),
    table1("adam_relu", (100,), 1400, 308_310, 45.52, rule=ADAM_1E3, norm="none"),
    table1("adam_elu_bn", (100,), 1400, 308_510, 51.57, rule=ADAM_1E3, norm="batch"),
    table1("adam_elu_bn_2000", (100,), 2000, 308_510, 52.25, rule=ADAM_1E3, norm="batch"),
    table1("adam_elu_bn_25x5", (25, 25, 25, 25, 25), 2000, 79_935, 47.85, rule=ADAM_1E3, norm="batch"),
    table1("adam_elu_bn_150", (150,), 2000, 462_760, 52.49, rule=ADAM_1E3, norm="batch"),
)
CONV_2020 = {"train.steps": 5000, "train.batch_size": 32, "train.eval_every.steps": 500, "train.order": "uva"}
FIVE_OF_150 = (150, 150, 150, 150, 150)
RESNET = CONV_2020 | {"model.name": "resnet34", "init.weights": "imagenet", "schedule.every.steps": 1500}
PRETRAINED = (("test last", 0.8175), ("train last", 0.85), ("test last", 0.705), ("test last", 0.809))
UVA_2020 = (
    Row(
        "2.1",
        "uva2020",
        "numpy_mlp",
        308_310,
        uva((100,), 1400, backend="numpy", model__activation="elu", init__std=1e-4) | SGD_1E3,
        (
            *(("test best", 0.495), ("test last", 0.485), ("train last", 0.521)),
            *(("test last", 0.437), ("test last", 0.472)),
        ),
    ),
    *TABLE_1,
    *(
        replace(row, name=f"{row.name}_batch100", settings=row.settings | {"train.batch_size": 100}, reported=())
        for row in TABLE_1
    ),
    *(
        Row("2.2", "uva2020", f"sgd_{name}", 308_310, uva((100,), 1400, model__activation=name) | SGD_1E3)
        for name in ("relu", "tanh", "sigmoid")
    ),
    table1("adam_elu_bn_150x5", FIVE_OF_150, 2500, 554_560, 54.16, rule=ADAM_1E3, norm="batch"),
    Row(
        "2.2",
        "uva2020",
        "table1_best_batch100",
        554_560,
        uva(FIVE_OF_150, 2500, 100, model__norm="batch", model__activation="elu") | ADAM_1E3,
    ),
    Row("2.3", "uva2020", "mlp_layer_manual", 308_510, uva((100,), 1400, model__norm="layer_manual")),
    Row(
        "2.4",
        "uva2020",
        "preact",
        11_138_122,
        CONV_2020 | {"model.name": "preact_resnet"} | ADAM_1E4,
        (("test last", 0.819),),
    ),
    Row(
        "2.4",
        "uva2020",
        "preact_fp32",
        11_138_122,
        CONV_2020 | {"model.name": "preact_resnet", "train.precision": "fp32"} | ADAM_1E4,
        (("test last", 0.819),),
    ),
    Row("2.5", "uva2020", "resnet34", 21_289_802, RESNET | ADAM_1E3, PRETRAINED),
    Row(
        "2.5",
        "uva2020",
        "resnet34_lr1e_4",
        21_289_802,
        RESNET | ADAM_1E4,
        PRETRAINED,
    ),
)


def eecs(question: str, name: str, params: int, percent: float, **settings: Any) -> Row:
    own = {key.replace("__", "."): value for key, value in settings.items()}
    return Row(f"3.5 Q{question}", "eecs598", name, params, own, (("test", percent / 100),))


BN_DROPOUT = {"model__norm": "batch_from_zero", "model__dropout": 0.2}
EECS_598 = (
    eecs("2.3", "logistic", 21, 93.6, loss__name="logistic", model__hidden=()),
    eecs("2.4", "two_layer_logistic", 22_001, 94, loss__name="logistic", model__hidden=(1000,)),
    eecs("3.3", "svm", 21, 92.8, loss__name="hinge", model__hidden=()),
    eecs("3.4", "two_layer_hinge", 22_001, 94, loss__name="hinge", model__hidden=(1000,)),
    eecs("3.4", "two_layer_hinge_std1e_2", 22_001, 94, loss__name="hinge", model__hidden=(1000,), init__std=1e-2),
    eecs("4.3", "softmax", 7_850, 92, loss__name="cross_entropy", model__hidden=(), data__name="mnist"),
    eecs("4.4", "two_layer", 795_010, 93.63, loss__name="cross_entropy", model__hidden=(1000,), data__name="mnist"),
    eecs("5.3", "convnet", 389_878, 98.39, model__name="eecs_convnet", model__kernel_size=7, model__hidden=100),
    eecs("5.4", "convnet_batch_norm_dropout", 389_942, 98.68, model__name="eecs_convnet", **BN_DROPOUT),
    eecs("6.2", "cifar_base", 149_370, 69, model__name="eecs_cifar_base", train__epochs=10.0, train__batch_size=100),
    eecs("6.2", "cifar_base_fp32", 149_370, 69, model__name="eecs_cifar_base", train__precision="fp32"),
    eecs("6.3", "cifar_improved", 2_374_602, 75, model__name="eecs_cifar_improved", train__epochs=10.0),
    eecs("6.3", "cifar_improved_lr5e_4", 2_374_602, 75, model__name="eecs_cifar_improved", optimizer__lr=5e-4),
    eecs("6.3", "cifar_improved_fp32", 2_374_602, 75, model__name="eecs_cifar_improved", train__precision="fp32"),
)

TOY = {"data.name": "toy", "model.hidden": (10,), "train.steps": 100, "optimizer.lr": 0.1, "schedule.gamma": 0.95}
STARTER = {"init.std": 1e-3, "schedule.gamma": 0.95, "train.epochs": 10.0, "data.split.val": 1000}
MIXED = {"model.hidden": (80, 80), "optimizer.name": "adam"}


def tuned(
    name: str, reported: Figures, *, hidden: int, steps: int, lr: float, reg: float, params: int = 246_650, **more: Any
) -> Row:
    settings = {
        "model.hidden": (hidden,),
        "train.steps": steps,
        "optimizer.lr": lr,
        "penalty": {"l2": {"coefficient": reg, "squared": True, "half": False, "on": "weights"}},
        "train.batch_size": more.pop("batch", 1000),
        "schedule.gamma": 0.8,
        "schedule.after_first_step": True,
        "preprocess": ("mean_image", "append_variants"),
        "data.split.val": 1000,
        "data.split.test": 1000,
    }
    own = {key.replace("__", "."): value for key, value in more.items()}
    return Row("4.6", "hlcv", name, params, settings | own, reported)


BEST = {"hidden": 80, "steps": 4500, "lr": 0.0015, "reg": 0.29}
BEST_REPORTED = (("val last", 0.53), ("test", 0.508))


def table2(model: int, hidden: tuple[int, ...], params: int, val: float, train: float, *more: tuple[str, float]) -> Row:
    settings = {"model.hidden": hidden, "train.batch_size": 100, **rule("adam", 1e-3, weight_decay=1e-3)} | STARTER
    reported = (("val last", val / 100), ("train mean", train / 100), *more)
    return Row("5.3", "hlcv", f"h4_model_{model}", params, settings, reported)


HE = {"init.name": "he", "train.batch_size": 100, **rule("adam", 1e-3, weight_decay=1e-3)}
HLCV = (
    Row("4.3", "hlcv", "toy", 83, TOY | {"train.order": "full"}, (("loss last", 0.015),)),
    Row(
        "4.3",
        "hlcv",
        "toy_with_replacement",
        83,
        TOY | {"train.order": "with_replacement", "train.batch_size": 200},
        (("loss last", 0.017),),
    ),
    Row(
        "4.5",
        "hlcv",
        "two_layer",
        154_160,
        {"model.hidden": (50,), "train.steps": 1000, "train.batch_size": 200, **rule("sgd", 1e-4)},
        (("val last", 0.286), ("val last", 0.287)),
    ),
    tuned(
        "h3_best",
        (("val last", 0.519), ("test", 0.50), ("loss last", 1.28)),
        hidden=80,
        steps=1200,  # not stated in the report
        lr=0.002,
        reg=1e-4,
        batch=400,
        train__order="window",
        schedule__gamma=0.95,
        preprocess=("mean_image",),
    ),
    tuned("h4_80_2000", (("val last", 0.497),), hidden=80, steps=2000, lr=0.0025, reg=0.25),
    tuned("h4_70_2000", (("val last", 0.487),), hidden=70, steps=2000, lr=0.0025, reg=0.25, params=215_820),
    tuned("h4_80_4500", (("val last", 0.495),), hidden=80, steps=4500, lr=0.0025, reg=0.25),
    tuned("h4_best", BEST_REPORTED, **BEST),
    tuned("h4_as_run", BEST_REPORTED, hidden=70, steps=4500, lr=0.0015, reg=0.25, batch=600, params=215_820),
    tuned("h4_best_decay95", BEST_REPORTED, **BEST, schedule__gamma=0.95),
    tuned(
        "h4_as_run_decay95",
        BEST_REPORTED,
        hidden=70,
        steps=4500,
        lr=0.0015,
        reg=0.25,
        batch=600,
        params=215_820,
        schedule__gamma=0.95,
    ),
    tuned("h4_best_plain", (), **BEST, preprocess=("mean_image",), schedule__every__steps=98),
    tuned(
        "h4_best_plain_decay95",
        (),
        **BEST,
        preprocess=("mean_image",),
        schedule__every__steps=98,
        schedule__gamma=0.95,
    ),
    tuned("h4_pca", (), **BEST, preprocess=("mean_image", "append_variants", "pca"), params=52_090),
    tuned("h4_early_stop", (), **BEST, train__keep="best", train__early_stop__patience=5),
    Row("5.1", "hlcv", "q4_default", 154_160, STARTER | {"model.hidden": (50,), "train.batch_size": 200}),
    Row(
        "5.2",
        "hlcv",
        "h3_pytorch",
        246_650,
        STARTER | {"model.hidden": (80,), "train.batch_size": 400, **rule("adam", 2e-3, weight_decay=1e-4)},
        (("val last", 0.537), ("test", 0.5143)),
    ),
    Row("5.2", "hlcv", "h3_mix_relu_tanh", 253_130, MIXED | {"model.activation": ("relu", "tanh")}),
    Row("5.2", "hlcv", "h3_mix_tanh_relu", 253_130, MIXED | {"model.activation": ("tanh", "relu")}),
    Row("5.2", "hlcv", "h3_mix_elu_relu_tanh", 259_610, {"model.activation": ("elu", "relu", "tanh")}),
    table2(1, (50,), 154_160, 51.9, 48.8),
    table2(2, (30,), 92_500, 48.7, 46.3),
    table2(3, (70,), 215_820, 52.3, 50.11),
    table2(4, (50, 70), 157_930, 51.7, 46.6),
    table2(5, (70, 70), 220_790, 53.6, 49.3, ("test", 0.535)),
    table2(6, (50, 70, 50), 161_280, 7.9, 9.8),
    table2(7, (50, 70, 70, 50), 166_250, 7.8, 9.9),
    Row(
        "5.4",
        "hlcv",
        "h4_model_4_batch200",
        157_930,
        {"model.hidden": (50, 70), "train.batch_size": 200, **rule("adam", 1e-3, weight_decay=1e-3)} | STARTER,
        (("val last", 0.517), ("train mean", 0.466)),
    ),
    Row(
        "5.4",
        "hlcv",
        "h4_model_4_batch200_4900",
        157_930,
        {"model.hidden": (50, 70), "train.batch_size": 200, "train.steps": 4900, "schedule.every.steps": 490},
    ),
    Row(
        "5.4",
        "hlcv",
        "h4_model_6_batch200",
        161_280,
        {"model.hidden": (50, 70, 50), "train.batch_size": 200, **rule("adam", 1e-3, weight_decay=1e-3)} | STARTER,
        (("val last", 0.079), ("train mean", 0.098)),
    ),
    Row(
        "5.4",
        "hlcv",
        "h4_model_6_batch200_4900",
        161_280,
        {"model.hidden": (50, 70, 50), "train.batch_size": 200, "train.steps": 4900, "schedule.every.steps": 490},
    ),
    Row("5.4", "hlcv", "h4_model_6_he", 161_280, HE | {"model.hidden": (50, 70, 50)}),
    Row("5.4", "hlcv", "h4_model_7_he", 166_250, HE | {"model.hidden": (50, 70, 70, 50)}),
)
ROWS = (*UVA_2018, *UVA_2020, *EECS_598, *HLCV)


@cache
def read_table(name: str) -> LocatedTable:
    return load_table(CONFIGS / "tables" / f"{name}.yaml")


def value_of(config: Any, key: str) -> Any:
    """Return what a config has at a dotted key, or what `penalty` and `preprocess` stand for here."""
    if key == "penalty":
        return {term.name: term.model_dump() for term in config.loss.penalty}
    if key == "preprocess":
        return tuple(step.name for step in config.data.preprocess)
    for part in key.split("."):
        config = getattr(config, part)
    return config


def test_every_config_of_a_report_is_a_row() -> None:
    files = sorted((CONFIGS / "reports").glob("*/*.yaml"))
    assert sorted(row.config for row in ROWS) == files
    names = [load_config(file).name for file in files]
    assert names == [f"{file.parent.name}_{file.stem}" for file in files]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section} {row.table} {row.name}")
def test_a_row_has_the_settings_of_the_report(row: Row) -> None:
    config = load_config(row.config)
    for key, expected in row.settings.items():
        found = value_of(config, key)
        if key == "penalty":
            found = {name: {k: found[name][k] for k in terms} for name, terms in expected.items() if name in found}
        assert found == expected, key
    # tests/test_configs.py builds the model and compares its parameters with the header
    assert re.findall(r"^# Parameters: ([\d,]+)", row.config.read_text(), re.MULTILINE) == [f"{row.params:,}"]


@pytest.mark.parametrize("name", ["uva2018", "uva2020", "eecs598", "hlcv"])
class TestEveryTable:
    def test_has_the_rows_and_reported_numbers(self, name: str) -> None:
        rows = read_table(name).config.rows
        expected = {row.name: row for row in ROWS if row.table == name}
        assert set(rows) == set(expected)
        for row, entry in rows.items():
            found = [(entry.figure, entry.value) for entry in entry.reported if entry.value is not None]
            assert [figure for figure, _ in found] == [figure for figure, _ in expected[row].reported], row
            assert [v for _, v in found] == pytest.approx([v for _, v in expected[row].reported], abs=1e-9), row

    def test_points_to_its_configs(self, name: str) -> None:
        table = read_table(name)
        for row in (row for row in ROWS if row.table == name):
            assert table.config_path(row.name) == row.config


def test_figures_are_among_what_the_runs_evaluate() -> None:
    """`test last` needs evaluations of the test set in training, `val last` of the validation split."""
    for row in ROWS:
        config = load_config(row.config)
        looked_at = config.train.evaluate or ("val",) * (config.data.split.val is not None)
        for entry in read_table(row.table).config.rows[row.name].reported:
            split, _, which = entry.figure.partition(" ")
            if which and split in ("test", "val"):
                assert split in looked_at, row.name


def test_there_is_a_table_for_each_course() -> None:
    assert {file.stem for file in (CONFIGS / "tables").glob("*.yaml")} >= {row.table for row in ROWS}
