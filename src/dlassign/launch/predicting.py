"""From samples that a user names to their scores, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dlassign.data.load import names_of_run
from dlassign.deploy.classifier import Classifier
from dlassign.deploy.fitting import notes_of_fitting
from dlassign.deploy.own_samples import note_of_own_samples
from dlassign.deploy.predict import Scored, score_sources, score_split
from dlassign.deploy.sources import open_sources
from dlassign.train.saved import SavedRun, open_split


def score_places(
    classifier: Classifier,
    places: Sequence[str],
    labels: str | None = None,
    *,
    saved: SavedRun | None = None,
    listed: Iterable[str] = (),
    say: Callable[[str], None],
) -> Scored:
    """Return the samples at places and their scores.

    Args:
        classifier: what scores them.
        places: as of `open_sources`.
        labels: as there.
        saved: the run that the classifier is of, if it is that of a run.
        listed: lines, each a place.
        say: told what is to be known of the samples.

    Raises:
        UserError: as of `open_sources`.
    """
    opened, notes = open_sources(
        places, intake=classifier.intake, classes=classifier.labels, labels=labels, listed=listed
    )
    notes += [own] if saved is not None and (own := note_of_own_samples(saved, opened)) else []
    notes += notes_of_fitting(opened, None if saved is None else saved.cfg.data)
    for note in notes:
        say(note)
    return score_sources(classifier, opened)


def score_own_split(saved: SavedRun, split: str, *, views: bool, say: Callable[[str], None]) -> Scored:
    """Return a split of a run's own data and its scores.

    Args:
        saved: the run.
        split: train, val or test.
        views: score with the test-time augmentation of the config.
        say: told what is to be known of the samples.

    Raises:
        UserError: the data is not that of the run.
    """
    opened = open_split(saved, split)
    for note in opened.notes:
        say(note)
    return score_split(opened, names_of_run(saved.cfg.data, opened.dataset)[split], views=views)
