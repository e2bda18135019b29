"""Does a step repeat exactly? Only then does a run that was killed and resumed end as one that never was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dlassign.data.batches import Batches
from dlassign.train.checkpoint import weights_sha256
from dlassign.train.learner import State, SteppingLearner

CAUSES = (
    "likely causes are the clock, numpy.random, Python's random and numbers kept in attributes; draw with torch "
    "(torch.rand), and keep numbers in buffers (register_buffer)"
)
"""What usually makes a step differ that is taken twice from one state, and the cure."""


def step_repeats(
    learner: SteppingLearner, batches: Batches[Any], *, step: int, lr_factor: Callable[[int], float]
) -> bool:
    """Take a step twice from the same state, go back to that, and return whether both gave the same loss and weights.

    Args:
        learner: ends in the state that it has now.
        batches: the training batches; both times this step's batch is made anew, augmentation included.
        step: steps done, 0 at the beginning.
        lr_factor: factor on the learning rate, by step.
    """
    # A copy: the learner's own state is changed in place by the step.
    before = copy.deepcopy(learner.state_dict())
    first, second = (_after(learner, before, batches, step, lr_factor(step)) for _ in range(2))
    learner.load_state_dict(before)
    return _same(first, second)


def evaluation_repeats(learner: SteppingLearner, split: Any, *, samples: int) -> bool:
    """Evaluate some samples twice, go back to the state before, and return whether both gave the same.

    Args:
        learner: ends in the state that it has now.
        split: as the learner takes it.
        samples: how many of it, at most; one batch of an evaluation, for which a model may be compiled.
    """
    before = copy.deepcopy(learner.state_dict())
    part = replace(split, x=split.x[:samples], y=split.y[:samples])
    try:
        # Without going back between the two: what is kept of one evaluation must not change the next.
        first, second = (repr(learner.evaluate(part)) for _ in range(2))  # as texts, in which NaN is NaN
    except Exception:  # noqa: BLE001 - of the user's code: a metric may need more samples, or a trained net
        return True
    finally:
        learner.load_state_dict(before)
    return first == second


def _same(first: tuple[list[float], str], second: tuple[list[float], str]) -> bool:
    # NaN is not NaN, and a step that diverges the same way each time does repeat; its losses are a single one.
    losses = zip(first[0], second[0], strict=True)
    return first[1] == second[1] and all(a == b or (a != a and b != b) for a, b in losses)


def _after(
    learner: SteppingLearner, state: State, batches: Batches[Any], step: int, lr_factor: float
) -> tuple[list[float], str]:
    """Return the loss of a step from a state, and the digest of the weights after it."""
    learner.load_state_dict(copy.deepcopy(state))
    # Drawn again, not kept: the user's own augmentation must repeat, too.
    [(x, y)] = batches.between(step, step + 1)
    taken = learner.read([learner.step(x, y, lr_factor)])
    return taken.losses, weights_sha256(learner.weights())
