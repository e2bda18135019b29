"""Run: a run as Python sees it, read from its folder when something of it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dlassign.api.columns import Columns, columns_of
from dlassign.api.given import Arrays, overrides_of, raw_of
from dlassign.api.messages import check_count, check_kind, check_number, check_word, say, telling_python
from dlassign.api.result import Evaluated, Result, evaluated
from dlassign.config.ordinary_file import given_path
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords, read_records
from dlassign.store.summary import RunSummary, summarise

if TYPE_CHECKING:
    from dlassign.api.compare import Compared, Group  # which import this file
    from dlassign.deploy.model import Model
    from dlassign.plots.picture import Picture

SplitName = Literal["train", "val", "test"]
_SPLITS = ("train", "val", "test")
_NO_COLUMN = {"kind", "split", "final", "confusion", "nonfinite"}


class Run:
    """A run: how it stands, what it reached, and what can be made of it.

    It is made by `train`, `open` and `runs`, and holds a folder and a few numbers: no data, no net, no GPU memory. It
    says how the run stood then; `open(run.path)` looks again. What reads the log, such as `history`, reads it anew.
    """

    def __init__(self, paths: RunPaths, *, trust: bool = False) -> None:
        self._paths = paths
        self._trust = trust
        self._summary = summarise(paths)

    def __repr__(self) -> str:
        reached = [f"{split} {result}" for split in ("val", "test") if (result := self._result(split))]
        reason = self._summary.reason
        return "; ".join([f"{self.path}: {self.status}", *reached, *([reason] if reason else [])])

    def __eq__(self, other: object) -> bool:
        """Return whether both are one run that stood alike when they were made."""
        return isinstance(other, Run) and (self._paths, self._summary) == (other._paths, other._summary)

    def __hash__(self) -> int:
        return hash(self._paths)

    def _repr_html_(self) -> str:
        # What a notebook shows of a value at the end of a cell.
        from dlassign.report.card import run_card

        return run_card(self._paths)

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._paths.root

    @property
    def status(self) -> str:
        """Finished, interrupted, diverged, failed, running, pruned, unreadable, or contradicted by its own log."""
        return self._summary.status

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self._summary.name

    @property
    def seed(self) -> int | None:
        """The seed; None of a run whose folder does not tell."""
        return self._summary.seed

    @property
    def summary(self) -> RunSummary:
        """The run in a few numbers, as `dlassign runs --json` shows it: parameters, steps, seconds, digests."""
        return self._summary

    @property
    def config(self) -> dict[str, Any]:
        """The config with every default written out, as `train` takes it; {} of an unreadable run."""
        return deepcopy(self._summary.config)  # whoever changes it for another run changes nothing of this one

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; () in logs of early versions."""
        return tuple(self._records().start["data"].get("classes", ()))

    @property
    def val(self) -> Result | None:
        """Result on the validation split with the chosen weights, before the end the newest; None without."""
        return self._result("val")

    @property
    def test(self) -> Result | None:
        """Result on the test split with the chosen weights; None if there is none yet."""
        return self._result("test")

    def history(self, split: SplitName = "train") -> Columns:
        """Return what the log says, a row for each record.

        Args:
            split: train: means over the samples since the last record, with `step, epoch, loss, accuracy, lr, n,
                seconds, wall`, and `penalty` if the loss has one; val or test: the evaluations during training.

        Raises:
            UserError: the log cannot be read.
            ValueError: there is no such split.
        """
        _check_split(split)
        records = self._records()
        rows = records.train if split == "train" else records.evaluations(split)
        return columns_of(rows, _names(rows))

    def confusion(self, split: SplitName = "test") -> NDArray[np.int64]:
        """Return how often each class was taken for each at the end, (K, K), rows the true class; see `classes`.

        Raises:
            UserError: there is no final evaluation of this split, or the log contradicts itself.
            ValueError: there is no such split.
        """
        return np.array(self._confusions(split)[split], dtype=np.int64)

    def plot(
        self,
        what: Literal["both", "loss", "penalty", "accuracy", "confusion"] = "both",
        *,
        splits: SplitName | Sequence[SplitName] = (),
        x: Literal["step", "epoch", "seconds", "wall"] = "step",
        smooth: float = 0.0,
        log_x: bool = False,
        log_y: bool = False,
        title: str | None = None,
    ) -> Picture:
        """Draw curves from the log, or the final confusion matrix.

        Args:
            what: which; both are loss and accuracy side by side, and the penalty if the log has one.
            splits: only these; of a confusion matrix one, test if there is one.
            x: unit of the x axis.
            smooth: weight of the past in a moving average, 0 to below 1.
            log_x: logarithmic x axis.
            log_y: logarithmic y axis.
            title: stands above the picture.

        Returns:
            What a notebook shows, and `save` writes; `figure` is matplotlib's.

        Raises:
            UserError: there is nothing of that to draw.
            ValueError: an argument is none of those above.
        """
        from dlassign.plots.confusion import build_final
        from dlassign.plots.curves import build_figure, metrics_of
        from dlassign.plots.panel import CurveOptions
        from dlassign.plots.picture import Picture
        from dlassign.plots.series import Run as LoggedRun

        check_kind("splits", splits, str | Sequence, "train, val, test, or a list of them")
        check_kind("title", title, str | None, "a text")
        check_number("smooth", smooth, "a number from 0 and below 1")
        drawn: tuple[SplitName, ...] = (splits,) if isinstance(splits, str) else tuple(splits)
        for split in drawn:
            _check_split(split)
        check_word("what", what, ("both", "loss", "penalty", "accuracy", "confusion"))
        check_word("x", x, ("step", "epoch", "seconds", "wall"))
        if not 0 <= smooth < 1:
            raise ValueError(f"smooth={smooth!r}; expected a number from 0 and below 1")
        logged = LoggedRun(self._paths, self._records())
        if what == "confusion":
            there = logged.records.confusions
            split = drawn[0] if drawn else "test" if "test" in there else "val"
            self._confusions(split)
            return Picture(build_final(logged, split, title=title))
        options = CurveOptions(splits=drawn, x=x, smooth=smooth, log_x=log_x, log_y=log_y, title=title)
        return Picture(
            build_figure([logged], metrics=metrics_of([logged]) if what == "both" else (what,), options=options)
        )

    def evaluate(
        self,
        split: SplitName = "test",
        *,
        weights: Literal["best", "last"] = "best",
        device: str | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 (as on the command line)
        data: Arrays | None = None,
        tta: bool = False,
    ) -> Evaluated:
        """Evaluate the saved weights on a split of the run's own data, as `dlassign evaluate` does.

        Args:
            split: which.
            weights: best, or last.
            device: where to compute; None is what the config says.
            set: values by dotted key that do not change what is measured, such as `{"data.root": ...}` of moved data.
            data: the samples in memory that the run was trained on; see `dlassign.train`.
            tta: with the test-time augmentation of the config.

        Raises:
            UserError: there are no such weights, or the data is not that of the run.
            ConfigError: the config has no test-time augmentation, or `set` changes what is measured.
            ValueError: an argument is none of those above.
        """
        from dlassign.train.given_back import by_itself
        from dlassign.train.saved import open_saved, open_split

        _check_split(split)
        check_word("weights", weights, ("best", "last"))
        raw = raw_of(data)
        with telling_python(), by_itself():
            changes = overrides_of(set, {})
            saved = open_saved(
                self._paths, weights=weights, device=device, overrides=changes, views=tta, trust=self._trust
            )
            found = open_split(saved, split, raw=raw).evaluate(views=tta)
        for note in found.notes:
            say(note)
        return evaluated(found)

    def compare(
        self,
        *others: Group,
        split: Literal["val", "test"] | None = None,
        metric: Literal["accuracy", "loss"] = "accuracy",
        effect: float | None = None,
    ) -> Compared:
        """Compare other runs, or groups of them, with this one; `dlassign.compare` compares all seeds of a config.

        Args:
            others: as the groups of `dlassign.compare`.
            split: whose final figures. None: test if all have them, else val.
            metric: what to compare.
            effect: a difference, in points (or units of the loss), for which seeds are counted. None: the one seen.

        Raises:
            ConfigError, UserError: as of `dlassign.compare`.
        """
        from dlassign.api.compare import compare

        return compare(self, *others, split=split, metric=metric, effect=effect)

    def predict(
        self,
        *sources: str | Path,
        split: SplitName | None = None,
        top: int = 1,
        weights: Literal["best", "last"] = "best",
        device: str | None = None,
        tta: bool = False,
    ) -> Columns:
        """Tell the class of samples in files, as `dlassign predict` does; `model` is for arrays and pictures in memory.

        Args:
            sources: images, folders, patterns such as "new/*.png", MNIST files or tables.
            split: instead of sources, this split of the run's own data.
            top: classes told of each sample.
            weights: best, or last.
            device: where to compute; None is what the config says.
            tta: average the scores over the test-time augmentation of the config.

        Returns:
            A row for each sample, in order: `path, label, probability`, `label_2, probability_2` and so on,
            `true_label` where it is known, and `error` of one that cannot be read; what is missing is None or NaN.

        Raises:
            UserError: there is nothing at a place, or samples are not of the kind that the net takes.
            ConfigError: the config has no test-time augmentation.
            ValueError: an argument is none of those above.
        """
        from dlassign.deploy.classifier import classifier_of_run
        from dlassign.deploy.predict import column_names, row_values
        from dlassign.launch.predicting import score_own_split, score_places
        from dlassign.train.given_back import by_itself
        from dlassign.train.saved import open_saved

        if bool(sources) == (split is not None):
            raise ValueError("give one source or more, or split")
        top = check_count("top", top)
        check_word("weights", weights, ("best", "last"))
        with telling_python(), by_itself():
            saved = open_saved(self._paths, weights=weights, device=device, views=tta, trust=self._trust)
            if split is not None:
                check_word("split", split, _SPLITS)
                scored = score_own_split(saved, split, views=tta, say=say)
            else:
                net = classifier_of_run(saved, views=tta)
                places = [str(given_path(source, "sources")) for source in sources]
                scored = score_places(net, places, saved=saved, say=say)
            names = column_names(top := min(top, len(scored.classes)))
            rows = [row_values(row, scored.classes, top=top) for row in scored.predictions(top)]
        return columns_of([dict(zip(names, row, strict=True)) for row in rows], names)

    def model(self, device: str = "cpu") -> Model:
        """Return the net with its best weights and its preprocessing, to predict arrays, pictures and rows with.

        Args:
            device: cpu, cuda, cuda:N or auto.

        Raises:
            UserError: there are no weights, or an early version wrote the run.
            ConfigError: there is no such device.
        """
        from dlassign.deploy.model import load_model

        with telling_python():
            return load_model(self.path, device, trust=self._trust)

    def _records(self) -> RunRecords:
        return read_records(self._paths.log)

    def _result(self, split: str) -> Result | None:
        own = self._summary
        accuracy: float | None = getattr(own, f"{split}_accuracy")
        if accuracy is None:
            return None
        loss: float | None = getattr(own, f"{split}_loss")
        mark = own.mark if split == "test" else own.val_unseen if split == "val" else ""
        return Result(
            accuracy=accuracy, loss=math.nan if loss is None else loss, n=getattr(own, f"{split}_n"), mark=mark
        )

    def _confusions(self, split: str) -> dict[str, list[list[int]]]:
        _check_split(split)
        if self.status == "contradicted":
            raise UserError(f"{self.path}: {self._summary.reason}")
        there = self._records().confusions
        if split not in there:
            have = f"there are those of {', '.join(there)}" if there else "the run has not come to its end"
            raise UserError(f"{self.path} has no final confusion matrix of {split}; {have}")
        return there


def _check_split(split: str) -> None:
    check_word("split", split, _SPLITS)


def _names(rows: Sequence[Record]) -> list[str]:
    """Return the keys of all records that are columns, in the order in which they come up."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in _NO_COLUMN))
