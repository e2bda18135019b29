"""DlassignClassifier: our training behind scikit-learn's interface, for pipelines, searches and cross-validation."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from itertools import product
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import sklearn.utils.validation
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from dlassign.config.load import check_document, dump_plain, read_config
from dlassign.config.mlp_parameters import Backend, config_of_parameters
from dlassign.config.model import PROBABILITIES
from dlassign.config.own_names import own_names
from dlassign.config.run import RunConfig
from dlassign.config.yamlpos import parse_yaml
from dlassign.data.arrays import raw_of_arrays
from dlassign.errors import Interrupted, UserError

if TYPE_CHECKING:
    from dlassign.data.bundle import Raw
    from dlassign.deploy.kept_net import KeptNet
    from dlassign.store.records import RunRecords
    from dlassign.train.parts import Parts

NOT_OF_A_CONFIG = {"config", "device", "out", "random_state"}
_STACKED: ContextVar[Mapping[str, tuple[RunRecords, Parts]] | None] = ContextVar("stacked", default=None)
"""Within a StackedSearchCV, the trainings that are done already, by `_key`; None elsewhere."""


class DlassignClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A neural network for classification, trained by dlassign, in memory if no folder is given.

    The parameters are those of `sklearn.neural_network.MLPClassifier`, as far as dlassign has the same. Differences:
    initial weights are drawn as PyTorch's, in float32; a stop after `n_iter_no_change` epochs goes back to the best
    weights with `early_stopping` only; the penalty of a short last batch counts as that of a full one;
    `validation_fraction` is taken by class wherever that is possible; there is no `partial_fit`.

    Args:
        hidden_layer_sizes: width of each hidden layer.
        activation: `identity`, `logistic`, `tanh`, `relu`, or one of dlassign's own, such as `gelu`.
        solver: `adam` or `sgd`.
        alpha: L2 penalty of the weights, divided by the batch size.
        batch_size: samples a step; `auto` is 200, or all if there are fewer.
        learning_rate_init: learning rate, which stays.
        max_iter: largest number of epochs.
        random_state: seed of weights and batches. With `config`, None keeps the config's seed.
        tol: improvement of the training loss, or of the validation accuracy, below which an epoch counts as none.
        early_stopping: hold samples out, stop by their accuracy, and keep the weights that were best on them.
        validation_fraction: share of the samples held out for that.
        n_iter_no_change: epochs without improvement after which training stops.
        momentum, nesterovs_momentum: of `sgd`.
        beta_1, beta_2, epsilon: of `adam`.
        config: path of a config, or a dict with its keys, in place of all parameters above but `random_state`. Its
            data is `{name: arrays}`, with preprocessing, augmentation and split as in any config, or left out.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for training; predictions are computed on the CPU in float64. None:
            the config's, or else `cpu`.
        out: folder below which each training has a run folder of its own, as those of `dlassign train`; the same
            training again finds it there. None: no file is written.

    Attributes:
        classes_: the labels, sorted; column i of `predict_proba` belongs to `classes_[i]`.
        n_features_in_, feature_names_in_: as in all of scikit-learn.
        loss_curve_: training loss of each epoch; with `config`, that of each record of its log.
        best_loss_: the smallest of them.
        n_iter_: epochs done.
        validation_scores_: accuracies of validation, if samples were held out.
        config_: what was trained, a dict with every default written out.
        run_: the run folder, with `out`.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        config: Any = None,
        device: str | None = None,
        out: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.config = config
        self.device = device
        self.out = out

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train.

        Args:
            X: (N, D) numbers; with a config also images, (N, C, H, W).
            y: (N,) labels, numbers or texts.

        Raises:
            ValueError: a parameter or the samples cannot be used.
            ConfigError: the config is wrong, or does not fit the data.
            Diverged: the loss is not finite.
        """
        cfg, raw = self._prepare(X, y)
        if raw is None:
            # Nothing to learn: every sample is of one class.
            self.loss_curve_: list[float] = []
            self.best_loss_ = None
            self.n_iter_ = 0
            return self
        self._train(cfg, raw)
        if self.config is None and self._went_to_the_end:
            message = f"training went on for all of max_iter={self.max_iter} epochs before it could stop"
            warnings.warn(f"{message}; give a larger max_iter", ConvergenceWarning, stacklevel=2)
        return self

    def _prepare(self, X: Any, y: Any) -> tuple[RunConfig, Raw | None]:
        """Check parameters and samples; return what is to be trained on what, None if there is one class only."""
        x, y = _validated(self, X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        cfg = _config_of(self, n=len(x))
        self.config_ = cfg.model_dump(mode="json")
        self._net: KeptNet | None = None
        if len(self.classes_) == 1:
            return cfg, None
        return cfg, raw_of_arrays(x, codes, classes=[str(name) for name in self.classes_.tolist()])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the label of each sample, (N,)."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, (N, K).

        Raises:
            UserError: the loss of the config is none of probabilities, such as `hinge`.
        """
        sklearn.utils.validation.check_is_fitted(self)
        loss = self.config_["loss"]["name"]
        if loss not in PROBABILITIES:
            raise UserError(f"the scores of a net trained with {loss} are no probabilities; use predict")
        scores = self._scores(X)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def _train(self, cfg: RunConfig, raw: Raw) -> None:
        from dlassign.train.cache import DataCache
        from dlassign.train.given_back import by_itself

        stacked = (_STACKED.get() or {}).get(_key(cfg, raw))
        try:
            with by_itself():
                if stacked is not None:
                    self._keep(*stacked)
                elif self.out is not None:
                    self._train_in_folder(cfg, raw)
                else:
                    from dlassign.train.experiment import train_in_memory

                    self._keep(*train_in_memory(cfg, DataCache(raw)))
        except Interrupted:
            # An ordinary error would be a failed fold for a search, which would go on with the next.
            raise KeyboardInterrupt from None

    def _train_in_folder(self, cfg: RunConfig, raw: Raw) -> None:
        """Train in the run folder of this config on these samples, or go on there, or find the finished run."""
        from dlassign.store.paths import RunPaths
        from dlassign.store.summary import finished_records
        from dlassign.train.cache import DataCache
        from dlassign.train.device import resolve_device
        from dlassign.train.experiment import assemble, run_experiment
        from dlassign.train.saved import load_saved_weights

        paths = RunPaths.of(Path(self.out).expanduser(), cfg.model_dump(mode="json"), raw.sha256)
        records = finished_records(paths) or run_experiment(cfg, paths, cache=DataCache(raw))
        self.run_ = paths.root
        if records.end is None or records.end["status"] != "finished":
            raise UserError(f"the run {paths.root} has not finished; move its folder away to train it anew")
        parts = assemble(cfg, resolve_device(cfg.device), cache=DataCache(raw))
        parts.learner.load_weights(load_saved_weights(paths, "best")["weights"])
        self._keep(records, parts)

    def _keep(self, records: RunRecords, parts: Parts) -> None:
        """Keep what the log says, and the net as arrays, which pickle anywhere."""
        from dlassign.deploy.kept_net import KeptNet

        assert records.end is not None
        self.loss_curve_ = [record["loss"] for record in records.train]
        self.best_loss_ = min(self.loss_curve_)
        self.n_iter_ = -(-int(records.end["steps"]) // parts.plan.steps_per_epoch)
        self._went_to_the_end = records.end["steps"] == parts.plan.steps
        # The last record is that of the chosen weights, which have been evaluated before.
        val = [record["accuracy"] for record in records.evals if record["split"] == "val" and "final" not in record]
        if val:
            self.validation_scores_ = val
        self._net = KeptNet.of(_loaded(self.config_), parts, n_classes=len(self.classes_))

    def _scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the scores of raw samples, (N, K) float64."""
        sklearn.utils.validation.check_is_fitted(self)
        x = _validated(self, X)
        return np.zeros((len(x), 1)) if self._net is None else self._net.scores(x)


class NothingStacked(UserWarning):
    """A search trains its nets one by one, and why."""


class StackedSearchCV(GridSearchCV):  # type: ignore[misc]
    """GridSearchCV whose nets are trained together: all folds of all candidates side by side.

    Parameters, attributes and results are those of GridSearchCV over nets that train in PyTorch, to the bit. In a
    stack, candidates may differ in rates, penalties, seeds, rates of dropout and stopping; on a CPU also in widths,
    activations, batch sizes and numbers of epochs. Others make a stack each, and so do folds of unequal size; what
    cannot be stacked is trained by itself. `mean_fit_time` is each net's share. Nets of `MLPClassifier`'s parameters
    train in PyTorch here, since a stack needs it; GridSearchCV trains them in NumPy on the CPU, with other bits.

    With `out`, nets that are trained in a stack have no run folder; the last training, on all samples, has one.
    `n_jobs` counts only where nothing could be stacked: a stack computes in as many threads as PyTorch has.

    Args:
        estimator: a DlassignClassifier with a whole number as `random_state`, or with `config`; or a Pipeline that ends
            in one, whose other steps are fitted for each candidate and fold.
        param_grid: as of GridSearchCV, and all its keywords.
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train all candidates on all folds, and the best one on all samples; as of GridSearchCV.

        Warns:
            NothingStacked: no two nets can be trained together.
        """
        given = self.get_params(deep=False)
        cv, n_jobs = given["cv"], given["n_jobs"]
        # Once, for what is trained ahead and for the search: with shuffling they would not be the same twice.
        self.cv = splits = list(check_cv(cv, y, classifier=True).split(X, y, params.get("groups")))
        trained = _STACKED.set({})
        try:
            ahead, seconds = _trained_ahead(self.estimator, list(ParameterGrid(self.param_grid)), X, y, splits)
            # Without a stack it is GridSearchCV, whose nets train where they always do.
            _STACKED.set(ahead or None)
            # Other processes would not see what is trained already, and train it again.
            self.n_jobs = 1 if ahead else n_jobs
            super().fit(X, y, **params)
        finally:
            self.cv = cv
            self.n_jobs = n_jobs
            _STACKED.reset(trained)
        if ahead:
            self.cv_results_["mean_fit_time"] = self.cv_results_["mean_fit_time"] + seconds
        return self


def _trained_ahead(
    estimator: Any, candidates: Sequence[Mapping[str, Any]], X: Any, y: Any, splits: Sequence[Any]
) -> tuple[dict[str, tuple[RunRecords, Parts]], float]:
    """Train all folds of all candidates that can be stacked; return them by `_key`, and the seconds of one of them."""
    from dlassign.errors import DlassignError
    from dlassign.stacked.in_memory import train_together
    from dlassign.stacked.keys import stack_key
    from dlassign.train.given_back import by_itself

    began = time.perf_counter()
    groups: dict[Any, list[tuple[RunConfig, Raw]]] = {}
    shared: dict[str, Raw] = {}
    for given, (train, _) in product(candidates, splits):
        cfg, raw = _prepared(clone(estimator).set_params(**given), _safe_indexing(X, train), _safe_indexing(y, train))
        if cfg is None or raw is None:
            continue
        raw = shared.setdefault(raw.sha256, raw)
        key, _why = stack_key(cfg)
        if key is not None:
            groups.setdefault((key, len(raw.train), len(raw.classes)), []).append((cfg, raw))
    found: dict[str, tuple[RunRecords, Parts]] = {}
    for group in groups.values():
        if len(group) > 1:
            with by_itself():
                ended = train_together(*zip(*group, strict=True))
            found |= {
                _key(cfg, raw): one
                for (cfg, raw), one in zip(group, ended, strict=True)
                if not isinstance(one, DlassignError)  # trained alone it ends so, too, and the search says it
            }
    if not found:
        message = (
            "no two nets can be trained together: give random_state a whole number, or see the folds and candidates"
        )
        warnings.warn(f"{message}; they are trained one by one", NothingStacked, stacklevel=3)
    return found, (time.perf_counter() - began) / max(len(found), 1)


def _prepared(estimator: Any, X: Any, y: Any) -> tuple[RunConfig | None, Raw | None]:
    """Return what an estimator would train on what; None of a failure, which the search will meet again."""
    try:
        if isinstance(estimator, Pipeline):
            X, estimator = estimator[:-1].fit_transform(X, y) if len(estimator) > 1 else X, estimator[-1]
        if not isinstance(estimator.random_state, Integral) and estimator.config is None:
            return None, None
        found: tuple[RunConfig, Raw | None] = estimator._prepare(X, y)
        return found
    except Exception:  # noqa: BLE001 - whatever a step of a pipeline raises
        return None, None


def _key(cfg: RunConfig, raw: Raw) -> str:
    """Return what tells trainings apart: config and samples."""
    return f"{cfg.model_dump_json()} {raw.sha256}"


def _validated(estimator: DlassignClassifier, *given: Any) -> Any:
    """Check samples, or samples and labels, as scikit-learn does; set or compare the number and names of features."""
    # Labels come with fit, be they None, which scikit-learn refuses.
    settings: dict[str, Any] = {"reset": len(given) > 1, "allow_nd": estimator.config is not None}
    check = getattr(sklearn.utils.validation, "validate_data", None)
    if check is not None:
        return check(estimator, *given, **settings)
    return estimator._validate_data(*given, **settings)  # scikit-learn 1.5


def _loaded(plain: Mapping[str, Any]) -> RunConfig:
    """Return the config of plain values that were one."""
    return RunConfig.model_validate(copy.deepcopy(dict(plain)))


def _config_of(estimator: DlassignClassifier, *, n: int) -> RunConfig:
    """Return the config to train n samples with."""
    seed, device = estimator.random_state, estimator.device
    if not isinstance(seed, Integral) and not (seed is None and estimator.config is not None):
        seed = check_random_state(seed).randint(2**31 - 1)
    if estimator.config is None:
        # Steps of a net that is so small cost less in NumPy, as MLPClassifier is written in. A stack needs torch.
        numpy = device in (None, "cpu") and _STACKED.get() is None
        backend: Backend = "numpy" if numpy else "torch"
        return config_of_parameters(estimator, n=n, seed=int(seed), backend=backend, device=device or "cpu")
    defaults = type(estimator)().get_params()
    values = estimator.get_params(deep=False)
    ignored = [name for name in values if name not in NOT_OF_A_CONFIG and values[name] != defaults[name]]
    if ignored:
        raise ValueError(f"config says all that is trained, so {', '.join(ignored)} would be ignored; remove them")
    if isinstance(estimator.config, Mapping):
        document = parse_yaml(dump_plain(copy.deepcopy(dict(estimator.config))), "config")
    else:
        document = read_config(Path(estimator.config))
    data = document.data.setdefault("data", {"name": "arrays"})
    if isinstance(data, dict) and data.get("name") != "arrays":
        message = f"fit is given the samples, but the config reads {data.get('name')!r}"
        raise ValueError(f"{message}; write `data: {{name: arrays}}`, or leave data out")
    if own := [name for _, name in own_names(document.data)]:
        message = f"takes no parts of your own ({', '.join(own)}); train them with dlassign.train"
        raise ValueError(f"{type(estimator).__name__} {message}")
    document.data.setdefault("name", "sklearn")
    overrides = {"seed": seed if seed is None else int(seed), "device": device}
    document.data.update({key: value for key, value in overrides.items() if value is not None})
    return check_document(document).config
