"""Every threshold of the probe's rules, in one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Every threshold of the probe, chosen on one half of the cases of scripts/bench_doctor.py.

    Attributes:
        learns: share of the null loss below which the last quarter of the steps must lie for a net to be learning.
        by_heart: the same share, of the loss of 32 samples that a net has learnt by heart.
        start_hint, start_likely: first loss over its expected value.
        start_inputs: size of inputs up to which a large first loss is the initial weights' doing.
        rate_gain: share of the null loss by which a smaller learning rate must be better after 40 steps.
        fall: share of the first loss that the whole training would take off at the rate of the probe.
        fall_more: how much more a larger rate must take off in 40 steps, as a share of the first loss.
        way: part of its own size by which the layer that moves most would move in the whole training.
        signal: spread of the last hidden outputs, over that of the inputs.
        lost: part of the spread of the last hidden outputs that differs between samples; a tenth of it is likely lost.
        dead_hint, dead_likely: share of a layer's units that are 0 for all samples.
        saturated: share of a layer's outputs at the ends.
        vanish: gradient of the first weights over the largest of a later layer, each over the size of its weights.
        penalty: gradient of the penalty over that of the loss.
        gap: loss in evaluation mode over that in training mode, and gap_least: their difference over the null loss.
        still: change of weights in a step, over their size, below which they stand still; others change 1e4 times more.
        by_chance: standard errors within which an accuracy is that of guessing.
        noise_hint, noise_likely: share of samples of which 8 of the 10 nearest share another label.
        swapped: share of both classes' samples that are taken for the other.
    """

    learns: float = 0.8
    by_heart: float = 0.5
    start_hint: float = 2.0
    start_likely: float = 10.0
    start_inputs: float = 5.0
    rate_gain: float = 0.2
    fall: float = 0.05
    fall_more: float = 0.05
    way: float = 0.02
    signal: float = 1e-3
    lost: float = 1e-4
    dead_hint: float = 0.7
    dead_likely: float = 0.95
    saturated: float = 0.5
    vanish: float = 1e-3
    penalty: float = 1.0
    gap: float = 1.5
    gap_least: float = 0.2
    still: float = 1e-9
    by_chance: float = 3.0
    noise_hint: float = 0.045
    noise_likely: float = 0.06
    swapped: float = 0.6


THRESHOLDS = Thresholds()
