"""DlassignClassifier: scikit-learn's own checks, searches, pickling, and what is given back after training."""

from __future__ import annotations

import pickle
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.errors import ConfigError, Interrupted, UserError
from dlassign.sklearn import DlassignClassifier, NothingStacked, StackedSearchCV
from dlassign.stacked.in_memory import train_together
from dlassign.train.cache import DataCache
from dlassign.train.experiment import train_in_memory
from helpers.runs import stop_after_steps

ROOT = Path(__file__).parents[1]
X, Y = make_blobs(n_samples=90, centers=3, n_features=4, random_state=0)
NAMES = np.array(["ant", "bee", "cat"])[Y]
CONFIG: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [8], "norm": "batch"},
    "optimizer": {"name": "adam", "lr": 0.05},
    "train": {"epochs": 10, "batch_size": 30},
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(**given: Any) -> DlassignClassifier:
    return DlassignClassifier(**{"hidden_layer_sizes": 8, "max_iter": 20, "random_state": 0} | given)


@pytest.mark.slow  # about 20 s: scikit-learn trains some fifty networks
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_no_fault() -> None:
    """The whole of it, without a declared failure."""
    estimator_checks.check_estimator(DlassignClassifier())


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_estimators_pickle",
        "check_dict_unchanged",
        "check_methods_subset_invariance",
        "check_methods_sample_order_invariance",
        "check_classifiers_one_label",
        "check_requires_y_none",
        "check_n_features_in",
        "check_dataframe_column_names_consistency",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_checks_that_estimators_fail_most(check: str) -> None:
    own = small(max_iter=5) if check != "check_parameters_default_constructible" else DlassignClassifier()
    getattr(estimator_checks, check)("DlassignClassifier", own)


def test_it_trains_what_the_same_config_trains() -> None:
    own = small(solver="sgd", learning_rate_init=0.05, random_state=3).fit(X, Y)
    cfg = RunConfig.model_validate(own.config_)
    assert cfg.seed == 3
    records, parts = train_in_memory(cfg, DataCache(raw_of_arrays(X, Y, classes=["0", "1", "2"])))
    assert own.loss_curve_ == [record["loss"] for record in records.train]
    assert own.n_iter_ == len(own.loss_curve_)
    assert own.best_loss_ == min(own.loss_curve_)
    weights = parts.learner.weights()
    assert own._net.weights.keys() == weights.keys()
    assert all((own._net.weights[name] == tensor.numpy()).all() for name, tensor in weights.items())


def test_it_learns_as_scikit_learns_own() -> None:
    digits = load_digits()
    x, y = digits.data / 16, digits.target
    given = {"hidden_layer_sizes": (30,), "max_iter": 25, "learning_rate_init": 0.01, "random_state": 0}
    own, other = (kind(**given).fit(x[:1200], y[:1200]) for kind in (DlassignClassifier, MLPClassifier))
    assert abs(own.score(x[1200:], y[1200:]) - other.score(x[1200:], y[1200:])) < 0.03
    assert own.loss_curve_[-1] == pytest.approx(other.loss_curve_[-1], rel=0.5)


def test_labels_may_be_texts_and_probabilities_belong_to_them() -> None:
    own = small(learning_rate_init=0.05).fit(X, NAMES)
    assert own.classes_.tolist() == ["ant", "bee", "cat"]
    shares = own.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (own.classes_[shares.argmax(axis=1)] == own.predict(X)).all()
    assert own.score(X, NAMES) > 0.9


def test_it_stops_when_nothing_improves_and_warns_if_it_never_did() -> None:
    stopped = small(max_iter=200, learning_rate_init=0.05, tol=0.1, n_iter_no_change=3).fit(X, Y)
    assert stopped.n_iter_ < 200
    with pytest.warns(ConvergenceWarning, match="max_iter=2 "):
        small(max_iter=2).fit(X, Y)


def test_early_stopping_holds_samples_out() -> None:
    own = small(
        early_stopping=True, learning_rate_init=0.05, n_iter_no_change=3, validation_fraction=0.2, max_iter=100
    ).fit(X, Y)
    assert own.config_["data"]["split"]["val"] == 18
    assert own.n_iter_ < 100
    assert len(own.validation_scores_) == own.n_iter_


def test_a_pickle_holds_arrays_alone_and_predicts_the_same() -> None:
    own = small().fit(X, Y)
    text = pickle.dumps(own)
    assert b"torch." not in text  # as the name of a module; `backend: torch` is a word of the config
    assert (pickle.loads(text).predict_proba(X) == own.predict_proba(X)).all()


def test_a_clone_has_the_parameters_and_trains_the_same() -> None:
    own = small().fit(X, Y)
    again = clone(own)
    assert not hasattr(again, "classes_")
    assert (again.fit(X, Y).predict_proba(X) == own.predict_proba(X)).all()


def test_pipelines_searches_and_cross_validation_take_it() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small(learning_rate_init=0.05)),
        {"dlassignclassifier__hidden_layer_sizes": [2, (8, 4)]},
        cv=2,
    )
    search.fit(X, NAMES)
    assert search.best_score_ > 0.8
    assert cross_val_score(search.best_estimator_, X, NAMES, cv=2).min() > 0.8


def test_generators_threads_and_dtype_are_given_back() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        own = small().fit(X, Y)
        own.predict(X)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert (own.predict_proba(X) == small().fit(X, Y).predict_proba(X)).all()
    assert threads == torch.get_num_threads()
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_without_a_seed_it_draws_from_numpys_generator_as_scikit_learn_does() -> None:
    np.random.seed(1)
    one, two = (small(random_state=None, max_iter=2).fit(X, Y).predict_proba(X) for _ in range(2))
    np.random.seed(1)
    assert (small(random_state=None, max_iter=2).fit(X, Y).predict_proba(X) == one).all()
    assert (one != two).any()


def test_any_config_will_do() -> None:
    given = {**CONFIG, "data": {"name": "arrays", "preprocess": [{"name": "normalize"}], "split": {"val": 0.2}}}
    own = DlassignClassifier(config=given, random_state=1).fit(X, NAMES)
    assert own.config_["seed"] == 1
    assert own.n_iter_ == 10
    assert len(own.validation_scores_) == 10
    raw = raw_of_arrays(X, Y, classes=["ant", "bee", "cat"])
    _, parts = train_in_memory(RunConfig.model_validate(own.config_), DataCache(raw))
    for name, split in parts.dataset.splits.items():
        # What the run says of its own weights, preprocessing and running statistics included.
        told = parts.learner.evaluate(parts.splits[name]).accuracy
        assert own.score(split.x, np.array(own.classes_)[split.y]) == pytest.approx(told)
    assert "name" not in given


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_config_file_may_be_given_and_either_backend_computes(backend: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"backend: {backend}\nmodel: {{name: mlp, hidden: [8]}}\noptimizer: {{name: sgd, lr: 0.05}}\n"
        "loss: {name: logistic}\ntrain: {epochs: 20, batch_size: 10}\n"
    )
    own = DlassignClassifier(config=tmp_path / "a.yaml").fit(X, NAMES == "ant")
    assert own.predict_proba(X).shape == (90, 2)
    assert own.score(X, NAMES == "ant") > 0.9


def test_images_may_be_given_with_a_config() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    y = np.arange(20) % 2
    conv = {"name": "eecs_convnet", "filters": 2, "kernel_size": 3, "hidden": 4}
    own = DlassignClassifier(config={**CONFIG, "model": conv, "train": {"epochs": 2, "batch_size": 10}}).fit(x, y)
    assert own.predict(x).shape == (20,)
    with pytest.raises(ValueError, match=r"samples of the shape \(1, 8, 9\)"):
        own.predict(np.zeros((2, 1, 8, 9)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"alpha": -1}, "alpha=-1; expected a number from 0"),
        ({"max_iter": 1.5}, "max_iter=1.5; expected a whole number from 1"),
        ({"momentum": 1}, "momentum=1; expected a number from 0 and below 1"),
        ({"solver": "lbfgs"}, "solver='lbfgs'; expected one of adam, sgd"),
        ({"activation": "softmax"}, "activation='softmax'; expected one of logistic"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes=(5, 0); expected whole numbers above 0"),
        ({"batch_size": 0}, "batch_size=0; expected a whole number from 1"),
        ({"config": CONFIG, "alpha": 1.0, "tol": 1.0}, "alpha, tol would be ignored; remove them"),
        ({"config": {**CONFIG, "data": {"name": "digits"}}}, "the config reads 'digits'; write `data: {name: arrays}`"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        DlassignClassifier(**given).fit(X, Y)


def test_a_wrong_key_of_a_config_is_told_as_in_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        DlassignClassifier(config={**CONFIG, "optimizer": {"name": "adam", "learning": 1}}).fit(X, Y)
    assert "optimizer.learning" in str(caught.value)


def test_scores_that_are_no_probabilities_are_not_given_as_such() -> None:
    own = DlassignClassifier(config={**CONFIG, "loss": {"name": "multiclass_hinge"}}).fit(X, Y)
    assert own.predict(X).shape == (90,)
    with pytest.raises(UserError, match="trained with multiclass_hinge are no probabilities; use predict"):
        own.predict_proba(X)


def test_ctrl_c_ends_a_search_and_is_no_failed_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr("dlassign.train.experiment.train_in_memory", stop)
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(small(), {"alpha": [0, 1]}, cv=2).fit(X, Y)


@pytest.mark.slow  # six networks on the digits, 3 to 6 s
def test_the_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "howto" / "scikit_learn.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec("\n".join(blocks), {})
    accuracy = [float(line) for line in capsys.readouterr().out.split()]
    assert len(accuracy) == 4
    assert min(accuracy) > 0.9


def test_with_out_each_training_has_a_run_folder_and_is_found_again(tmp_path: Path) -> None:
    first = small(out=tmp_path).fit(X, NAMES)
    assert (first.run_ / "log.jsonl").is_file()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = small(out=str(tmp_path)).fit(X, NAMES)
    assert again.run_ == first.run_
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    in_memory = small().fit(X, NAMES)
    for own in (first, again, pickle.loads(pickle.dumps(first))):
        np.testing.assert_array_equal(own.predict_proba(X), in_memory.predict_proba(X))
        assert own.loss_curve_ == in_memory.loss_curve_
    assert small(out=tmp_path).fit(X[1:], NAMES[1:]).run_ != first.run_
    assert not hasattr(in_memory, "run_")


def test_with_out_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**CONFIG, "train": {"epochs": 10, "batch_size": 30, "checkpoint_seconds": 0}}
    with monkeypatch.context() as patch:
        stop_after_steps(patch).after = 10
        with pytest.raises(KeyboardInterrupt):
            DlassignClassifier(config=config, out=tmp_path).fit(X, Y)
    [checkpoint] = tmp_path.rglob("last.pt")
    assert checkpoint.is_file()
    resumed = DlassignClassifier(config=config, out=tmp_path).fit(X, Y)
    unbroken = DlassignClassifier(config=config).fit(X, Y)
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))


TORCH = {**CONFIG, "backend": "torch"}
RATES = [{**TORCH, "optimizer": {"name": "adam", "lr": lr}} for lr in (0.001, 0.01, 0.05)]


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_stacked_search_has_the_results_of_one_by_one(shuffled: bool) -> None:
    cv = StratifiedKFold(4, shuffle=True, random_state=3) if shuffled else 4  # folds of 67 and of 68 samples
    pipeline = Pipeline([("scale", StandardScaler()), ("net", DlassignClassifier(device="cpu", random_state=0))])
    grid = {"net__config": RATES, "scale__with_mean": [True, False]}
    together = StackedSearchCV(pipeline, grid, cv=cv, return_train_score=True).fit(X, NAMES)
    alone = GridSearchCV(pipeline, grid, cv=cv, return_train_score=True).fit(X, NAMES)
    assert together.cv_results_.keys() == alone.cv_results_.keys()
    for key, values in alone.cv_results_.items():
        if not key.endswith("_time"):
            np.testing.assert_array_equal(together.cv_results_[key], values, err_msg=key)
    assert together.best_params_ == alone.best_params_
    assert (together.cv, together.n_splits_) == (cv, 4)
    np.testing.assert_array_equal(together.predict_proba(X), alone.predict_proba(X))
    assert (together.cv_results_["mean_fit_time"] > 0).all()


def test_all_folds_of_all_candidates_are_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(cfgs: Any, raws: Any) -> Any:
        sizes.append(len(cfgs))
        return train_together(cfgs, raws)

    monkeypatch.setattr("dlassign.stacked.in_memory.train_together", counted)
    alone = []
    monkeypatch.setattr("dlassign.train.experiment.train_in_memory", lambda *given: alone.append(given))
    grid = {"alpha": [0.001, 0.1], "learning_rate_init": [0.01, 0.02]}
    search = StackedSearchCV(small(), grid, cv=3, refit=False).fit(X, Y)
    assert sizes == [4 * 3]
    assert not alone
    assert search.cv_results_["mean_test_score"].shape == (4,)


def test_a_stack_is_not_trained_again_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []

    def noted(search: GridSearchCV, *given: Any, **params: Any) -> Any:
        jobs.append(search.n_jobs)
        return search

    monkeypatch.setattr(GridSearchCV, "fit", noted)
    monkeypatch.setattr("dlassign.sklearn._trained_ahead", lambda *given: ({}, 0.0))
    assert StackedSearchCV(small(), {"alpha": [0.1]}, cv=2, n_jobs=2).fit(X, Y).n_jobs == 2
    search = StackedSearchCV(small(), {"alpha": [0.1]}, cv=2, n_jobs=2)
    search.cv_results_ = {"mean_fit_time": np.zeros(1)}
    monkeypatch.setattr("dlassign.sklearn._trained_ahead", lambda *given: ({"a net": None}, 0.0))
    assert search.fit(X, Y).n_jobs == 2
    assert jobs == [2, 1]


def test_early_stopping_holds_out_samples_of_each_fold() -> None:
    grid = {"alpha": [0.0, 0.1]}
    settings = {"early_stopping": True, "n_iter_no_change": 3, "device": "auto"}  # PyTorch, also one by one
    together = StackedSearchCV(small(**settings), grid, cv=3).fit(X, Y)
    alone = GridSearchCV(small(**settings), grid, cv=3).fit(X, Y)
    np.testing.assert_array_equal(together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the test scores")
def test_what_fails_in_a_stack_fails_in_the_search() -> None:
    wild = {**TORCH, "optimizer": {"name": "sgd", "lr": 1e30}}
    search = StackedSearchCV(DlassignClassifier(device="cpu"), {"config": [RATES[0], wild, RATES[1]]}, cv=3).fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False]


def test_parts_of_ones_own_are_for_train() -> None:
    with pytest.raises(
        ValueError, match=r"takes no parts of your own \(net\.py:Net\); train them with dlassign\.train"
    ):
        DlassignClassifier(config={**CONFIG, "model": {"name": "net.py:Net"}}).fit(X, Y)


def test_a_search_without_a_stack_says_so() -> None:
    with pytest.warns(NothingStacked, match="random_state a whole number"):
        StackedSearchCV(small(random_state=None), {"alpha": [0.1]}, cv=2).fit(X, Y)


@pytest.mark.parametrize(("given", "key"), [({"random_state": -1}, "seed"), ({"device": "x"}, "device")])
def test_seed_and_device_are_told_as_in_a_config(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected"):
        small(**given).fit(X, Y)
