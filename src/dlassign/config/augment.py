"""Random changes of training images: of pixel values before preprocessing, or mixtures of two images after it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dlassign.config.base import Config, Duration, Many, Pair, Pixels, Positive, Several, Share, Side, broken_rule
from dlassign.config.own_part import OrOwn, OwnPart

Padding = Literal["reflect", "edge", "zeros"]


class Flip(Config):
    """Mirror each image left to right with probability p, every time it is seen."""

    name: Literal["flip"]
    p: Share = 0.5
    """Probability of the mirror image."""


class AlternatingFlip(Config):
    """Mirror a random half of the images in the first epoch, the other half in the second, and so on in turn."""

    name: Literal["alternating_flip"]


class Translate(Config):
    """Move each image by a random whole number of pixels in both directions."""

    name: Literal["translate"]
    pixels: Side = 2
    """Largest move, in pixels; every move from -pixels to pixels is equally likely."""
    padding: Padding = "reflect"
    """What fills the free border: the image mirrored at its outermost pixels, these pixels repeated, or zeros."""


class Crop(Config):
    """Pad each image on all sides and cut a window out at a random place."""

    name: Literal["crop"]
    pixels: Pixels = 4
    """Width of the padding on each side, in pixels."""
    size: Pair[Side] | None = None
    """Height and width of the window. null: those of the image. Images of val and test are not cropped."""
    padding: Padding = "zeros"
    """What fills the padding: zeros, the image mirrored at its outermost pixels, or these pixels repeated."""


class Cutout(Config):
    """Paint a square of one colour over each image, at a random place wholly inside it."""

    name: Literal["cutout"]
    size: Annotated[Side, Field(examples=[8])]
    """Side of the square, in pixels."""
    fill: Literal["mean", "zeros"] = "mean"
    """Colour of the square: each channel's mean over the training images, or zeros, both in raw pixel values."""


class Brightness(Config):
    """Multiply the pixel values of each image by 1 + u, u uniform from -limit to limit, and keep them in 0..255."""

    name: Literal["brightness"]
    limit: Share = 0.1
    """Largest relative change, at most 1."""


class Contrast(Config):
    """Scale each image's differences from its own mean by 1 + u, u uniform from -limit to limit, kept in 0..255."""

    name: Literal["contrast"]
    limit: Share = 0.1
    """Largest relative change, at most 1."""


class RandAugment(Config):
    """Apply torchvision's RandAugment to each image alone. This is slow, and a GPU must wait for the CPU."""

    name: Literal["rand_augment"]
    n_ops: Annotated[int, Field(ge=1, le=100)] = 2
    """Operations in a row, drawn for each image."""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Strength of all operations, from 0 to 30."""


def _growing(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse sizes of which one is not larger than the one before."""
    if any(after <= before for before, after in pairwise(sizes)):
        message = f"each size must be larger than the one before; got {list(sizes)}, give {sorted(set(sizes))}"
        raise broken_rule("", message)
    return sizes


class Resize(Config):
    """Make the images of the first part of the training smaller. Images of val and test keep their size.

    A step on smaller images needs fewer FLOPs. The model must take images of any size, as those with a global pool do.
    Source: Howard 2018, progressive resizing.
    """

    name: Literal["resize"]
    sizes: Annotated[Several[Side], AfterValidator(_growing), Field(examples=[[16, 24]])]
    """Lengths of the shorter side, in pixels. They grow, and each is for an equal number of steps."""
    until: Annotated[Duration, Field(examples=[{"epochs": 5}])]
    """When training goes on with images of full size."""


class Mixup(Config):
    """Blend each image with another of the batch, and their losses and training accuracies in the same ratio."""

    name: Literal["mixup"]
    alpha: Positive = 0.2
    """Each step draws the share of the first image from Beta(alpha, alpha). A small alpha mostly blends little."""


class CutMix(Config):
    """Paste a rectangle of another image of the batch into each; weigh losses and training accuracies by area."""

    name: Literal["cutmix"]
    alpha: Positive = 1.0
    """Each step draws the share of the first image's area from Beta(alpha, alpha). 1: all shares are equally likely."""


class OwnAugment(OwnPart):
    """An augmentation of the user's own: (images, generator) -> images, of a whole batch."""

    own_kind = "augment"


Augment = Annotated[
    Flip
    | AlternatingFlip
    | Translate
    | Crop
    | Cutout
    | Brightness
    | Contrast
    | RandAugment
    | Resize
    | Mixup
    | CutMix
    | OwnAugment,
    OrOwn(OwnAugment),
]

ONCE = (("flip", "alternating_flip"), ("resize",), ("mixup",), ("cutmix",))
"""Groups of augmentations of which at most one may be given."""


def _no_clash(augments: tuple[Augment, ...]) -> tuple[Augment, ...]:
    for group in ONCE:
        found = [index for index, augment in enumerate(augments) if augment.name in group]
        if len(found) > 1:
            first, second = (augments[index].name for index in found[:2])
            what = "is given twice" if first == second else f"does not go together with {first}"
            raise broken_rule(f"{found[1]}.name", f"{second} {what}; remove one of the two")
    return augments


Augments = Annotated[Many[Augment], AfterValidator(_no_clash)]
"""A list of augmentations, done in the order given; resize, then mixup and cutmix come last whatever their place. With
both of these, each step does one of the two, drawn with equal chances."""
