"""What a run trains on: the source, the split and the preprocessing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dlassign.config.augment import Augments
from dlassign.config.base import (
    Config,
    Count,
    Finite,
    FolderName,
    Fraction,
    Many,
    Pair,
    PathText,
    Positive,
    Seed,
    Several,
    Side,
    broken_rule,
)
from dlassign.config.own_part import OrOwn, OwnPart

Size = Count | Fraction


class Split(Config):
    """How samples are split into train, val and test.

    A source that has a test set of its own (mnist, cifar10, image_folder with `test`) keeps it; validation is
    then taken from the training part. The samples of a source without one (digits, csv_table) are split into all three.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"val": 0.1}]})

    train: Size | None = None
    """Samples to train on: a count or a fraction of the samples. null: all that val and test leave."""
    val: Size | None = None
    """Samples held out for validation: a count, or a fraction of what they are taken from (the training part of a
    source that has a test set, else all samples). null: no validation."""
    test: Size | None = None
    """Test samples: a count or a fraction. null: the whole test set of the source; without one, no test."""
    by: Literal["random", "stratified", "position", "group"] = "stratified"
    """How samples are chosen: at random, at random with the same class shares in each split, or in file order. group:
    images that belong together, such as all of one patient, stay in one split; see `pattern` of image_folder."""
    val_at: Literal["start", "end"] = "end"
    """With `by: position`, whether validation is the start or the end of the training part."""
    seed: Seed = 0
    """Seed of the split. It is not the seed of the run, so runs with several seeds share one split."""


class WholeSplit(Split):
    """How the samples of a source without a test set of its own are split into train, val and test."""

    val: Size | None = 0.15
    """Samples held out for validation: a count or a fraction of all samples. null: no validation."""
    test: Size | None = 0.2
    """Samples held out for the test: a count or a fraction of all samples. null: no test."""


def _pattern_of_group(pattern: str) -> str:
    cure = r"write round brackets around what tells the group, such as '^(patient\d+)_'"
    try:
        found = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise broken_rule("", f"'{pattern}' is no regular expression ({error}); {cure}") from None
    if found != 1:
        raise broken_rule("", f"'{pattern}' has {found} groups in round brackets, not one; {cure}")
    return pattern


class FolderSplit(Split):
    """How images are split into train, val and test; a folder of `test` or `val` images keeps them."""

    pattern: Annotated[str, AfterValidator(_pattern_of_group), Field(examples=[r"^(patient\d+)_"])] | None = None
    r"""With `by: group`, a regular expression with one part in round brackets, which is the group of an image. It is
    looked for in the path of the file below the folder of its class: '^(patient\d+)_' takes patient12_left.png and
    patient12_right.png for one group, in whichever class they lie."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.by == "group" and self.pattern is None:
            cure = r"""give split.pattern, such as '^(patient\d+)_' for files called patient12_left.png"""
            yield broken_rule("by", f"which images are one group is not said; {cure}")
        if self.by != "group" and self.pattern is not None:
            yield broken_rule("pattern", "a pattern is for `by: group` only; give this, or remove the pattern")


class Scale(Config):
    """Divide every value by a number."""

    name: Literal["scale"]
    divisor: Positive = 255.0
    """The number to divide by: 255 brings 8-bit images to 0..1, 16 the digits."""


class Normalize(Config):
    """Subtract a mean and divide by a standard deviation, one pair for each channel (or feature)."""

    name: Literal["normalize"]
    mean: Many[Finite] | None = None
    """Mean of each channel. null: measured on the training split."""
    std: Many[Positive] | None = None
    """Standard deviation of each channel. null: measured on the training split."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                counts = f"mean has length {len(self.mean)} and std {len(self.std)}"
                yield broken_rule("std", f"{counts}; give one of each for every channel")
        elif self.mean is not None or self.std is not None:
            given, missing = ("mean", "std") if self.std is None else ("std", "mean")
            message = f"{given} is given but {missing} is not; give both, or neither to measure both on train"
            yield broken_rule(given, message)


class MeanImage(Config):
    """Subtract the mean image of the training split, pixel by pixel."""

    name: Literal["mean_image"]


class Flatten(Config):
    """Turn each sample into one row of values, channel by channel."""

    name: Literal["flatten"]


class PCA(Config):
    """Project flattened samples on their leading principal components, fitted on the training split."""

    name: Literal["pca"]
    components: Count | Fraction
    """Number of components, or the fraction of the variance to keep."""
    whiten: bool = False
    """Scale every component to unit variance."""


class AppendVariants(Config):
    """Append a changed copy of each image to the training split, once: upside down, mirrored, or values times 0.7.

    One of the three is drawn at random for each image. val and test stay as they are. Statistics of other steps are
    measured on the originals alone. Source: HLCV report 004, which has this step after mean_image.
    """

    name: Literal["append_variants"]
    seed: Seed = 10
    """Seed of the draw. It is not the seed of the run, so runs with several seeds share one set of copies."""


class OwnPreprocess(OwnPart):
    """A preprocessing step of the user's own: (x) -> x."""

    own_kind = "preprocess"


Preprocess = Annotated[
    Scale | Normalize | MeanImage | Flatten | PCA | AppendVariants | OwnPreprocess, OrOwn(OwnPreprocess)
]


class Source(Config):
    """Keys that every data source has."""

    split: Split = Split()
    """How samples are split into train, val and test."""
    preprocess: Many[Preprocess] | None = None
    """Preprocessing steps, done in this order. Statistics are measured on train only. null: no steps, or with
    `init: pretrained` the steps that the weights were trained with."""
    augment: Augments = ()
    """Random changes of training images, done in this order on pixel values before preprocessing; mixup and cutmix
    are done after it."""
    balance: Literal["oversample"] | None = None
    """oversample: each class gets an equal share of the samples of an epoch. An epoch has as many samples as before, so
    those of a rare class come several times, and not each of a frequent class comes. null: samples as they are."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.split.by == "group" and not isinstance(self.split, FolderSplit):
            message = "the files of an image_folder tell groups by their names, other data has none"
            yield broken_rule("split.by", f"{message}; use stratified, random or position")
        places = [place for place, step in enumerate(self.preprocess or ()) if step.name == "append_variants"]
        if len(places) > 1:
            yield broken_rule(f"preprocess.{places[1]}", "append_variants stands twice; remove one")
        if places and self.augment:
            message = "append_variants and data.augment do not go together, as augment works on pixels as they were"
            yield broken_rule(f"preprocess.{places[0]}", f"{message} read; remove one of the two")


class Digits(Source):
    """scikit-learn's 1,797 digits of 8x8 pixels, values 0..16, 10 classes. Embedded: nothing to download."""

    name: Literal["digits"]
    split: WholeSplit = WholeSplit()
    """How the 1,797 samples are split into train, val and test."""


class MNIST(Source):
    """MNIST: 60,000 training and 10,000 test images, 1x28x28, values 0..255, 10 classes."""

    name: Literal["mnist"]
    root: PathText = "data"
    """Folder that holds `MNIST/raw/`, relative to the working directory."""
    download: bool = False
    """Download the files if they are missing. Without it training never touches the network."""


class CIFAR10(Source):
    """CIFAR-10: 50,000 training and 10,000 test images, 3x32x32, values 0..255, 10 classes."""

    name: Literal["cifar10"]
    root: PathText = "data"
    """Folder that holds `cifar-10-batches-py/`, relative to the working directory."""
    download: bool = False
    """Download the files if they are missing. Without it training never touches the network."""


class ImageFolder(Source):
    """Images in one subfolder for each class. Decoded once, in parallel, into a cache that later starts read.

    They are turned as the camera was held, and of several frames the first is read.
    """

    name: Literal["image_folder"]
    root: Annotated[PathText, Field(examples=["data/pets"])]
    """Folder that holds the folders named in `train`, `val` and `test`, relative to the working directory."""
    train: FolderName = "train"
    """Subfolder of `root` to train on, with one folder for each class; `.` if they lie in `root` itself."""
    val: FolderName | None = None
    """Subfolder with validation images. null: none; `split.val` may hold some out of train."""
    test: FolderName | None = "test"
    """Subfolder with test images. null: none; `split.test` may hold some out."""
    split: FolderSplit = FolderSplit()
    """How the images in `train` of an image_folder are split; those in `val` and `test` stay as they are."""
    size: Pair[Side] | None = None
    """Height and width that every image is resized to. null: all images must have the same size."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image of another shape is brought to `size`: stretched; its middle cut out, as large as it goes; or made
    to fit in, with bars of `background` beside it."""
    grayscale: bool = False
    """Read images as one gray channel instead of three colours."""
    background: str = "white"
    """Colour that transparent images are laid over: a name, or '#rrggbb' in quotes (# begins a comment)."""
    bits: Annotated[int, Field(ge=8, le=32)] | None = None
    """Bits of the values in images that have more than 8 for each channel, which are brought to 8. null: the smallest
    of 8, 10, 12 and 16 that holds all values of the set; floating-point values up to 1 are taken for 0 to 1."""
    shuffle_seed: Seed | None = None
    """Seed with which the images of each part are shuffled once. null: sorted by class, as the folders are."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them, instead of stopping."""
    label: str | None = None
    """Name of the data in results. null: the name of the root folder."""
    cache: PathText | None = None
    """Folder for decoded images. null: `dlassign` in the user's cache folder."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from super()._broken_rules()
        if self.fit != "stretch" and self.size is None:
            message = f"{self.fit} brings images to a size, and none is given; give data.size, such as [64, 64]"
            yield broken_rule("fit", message)
        if self.val is not None and self.split.val is not None:
            message = f"validation is given twice: data.val is {self.val!r}; remove one of the two"
            yield broken_rule("split.val", message)


Missing = Literal["mean", "median", "most_frequent", "column"]


class TableColumn(Config):
    """What the cells of a column are; without one_hot and ordinal they are numbers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ordinal": ["small", "medium", "large"]}]})

    one_hot: bool = False
    """They are texts, and each text of train becomes a feature, which is 1 where a cell is this text. A text that train
    does not have is none of them. `one_hot` alone is short for `{one_hot: true}`."""
    ordinal: Several[str] | None = None
    """They are these texts, which become 0, 1, 2, ... in this order."""
    missing: Missing | None = None
    """As data.missing, for this column alone. null: what data.missing says."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.one_hot and self.ordinal:
            yield broken_rule("ordinal", "one_hot and ordinal are both given; remove one of them")
        if self.ordinal and len(set(self.ordinal)) < len(self.ordinal):
            yield broken_rule("ordinal", "a text stands twice in this order; remove one")
        if (self.one_hot or self.ordinal) and self.missing in ("mean", "median"):
            yield broken_rule("missing", f"texts have no {self.missing}; use most_frequent or column")
        if not (self.one_hot or self.ordinal or self.missing):
            yield broken_rule("", "says nothing of the column; give one_hot, ordinal or missing, or remove it")


class CSVTable(Source):
    """A table of features and a label column, as comma-separated values.

    What is measured for columns, such as which texts there are, is measured on train alone and kept with the weights.
    """

    name: Literal["csv_table"]
    path: Annotated[PathText, Field(examples=["data/table.csv"])]
    """The file, relative to the working directory."""
    label_column: str | Annotated[int, Field(gt=-(2**31), lt=2**31)] = "label"
    """Name of the label column, or its number counted from 0 (-1 is the last)."""
    header: bool = True
    """Whether the first line holds column names."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values. Where the first line has no comma, semicolon and tab are tried too."""
    decimal: Literal[".", ","] | None = None
    """What stands before the fraction of a number. null: a point; or a comma, if a column mostly holds numbers that
    have one, and no number has a point."""
    drop: Many[str | int] = ()
    """Columns that are left out, such as an id: their names, or their numbers counted from 0 (-1 is the last)."""
    columns: Annotated[dict[str, Literal["one_hot"] | TableColumn], Field(default_factory=dict)]
    """Columns whose cells are not plain numbers, by name (or by number, with `header: false`), such as
    `{colour: one_hot, size: {ordinal: [small, medium, large]}}`."""
    missing: Missing | None = None
    """What a missing cell is taken for: the mean, median or most frequent value of the column in train; or column: the
    mean, or none of its texts, and one more feature that says where a cell is missing. Of texts mean and median are
    the most frequent one. An empty cell is missing; of a number also NA, N/A, nan, null, None and ?. null: an error."""
    label: str | None = None
    """Name of the data in results. null: the name of the file without its ending."""
    split: WholeSplit = WholeSplit()
    """How the rows are split into train, val and test."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from super()._broken_rules()
        if not self.header and isinstance(self.label_column, str):
            cure = "give label_column as a number, such as -1 for the last column"
            yield broken_rule("label_column", f"`header: false` leaves no column names; {cure}")
        if not self.header and any(isinstance(column, str) for column in self.drop):
            cure = "give columns as numbers counted from 0"
            yield broken_rule("drop", f"`header: false` leaves no column names; {cure}")
        if not self.header and not all(re.fullmatch("-?[0-9]{1,9}", name) for name in self.columns):
            cure = "give columns by their numbers, counted from 0, such as `0: one_hot`"
            yield broken_rule("columns", f"`header: false` leaves no column names; {cure}")


class Toy(Source):
    """The five samples of four features, three classes, of the HLCV exercise; all are for training."""

    name: Literal["toy"]


class Given(Source):
    """Keys of a source whose samples come as arrays."""

    given: Many[Literal["val", "test"]] = ()
    """Splits that are given beside the training samples, as they are. The others are taken from the training samples,
    as `split` says."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from super()._broken_rules()
        if "val" in self.given and self.split.val is not None:
            message = "validation is given twice: val is in data.given; remove one of the two"
            yield broken_rule("split.val", message)


class Arrays(Given):
    """Samples that a Python process holds in memory and gives to training; no command can read them again."""

    name: Literal["arrays"]


class OwnData(OwnPart, Given):
    """A data source of the user's own: () -> (x, y), or these by split."""

    own_kind = "data"


Data = Annotated[Digits | MNIST | CIFAR10 | ImageFolder | CSVTable | Toy | Arrays | OwnData, OrOwn(OwnData)]


def has_validation(data: Data) -> bool:
    """Return whether this config makes a validation split."""
    if isinstance(data, Given) and "val" in data.given:
        return True
    return data.split.val is not None or (isinstance(data, ImageFolder) and data.val is not None)


def has_test(data: Data) -> bool:
    """Return whether this config makes a test split."""
    if isinstance(data, MNIST | CIFAR10) or (isinstance(data, ImageFolder) and data.test is not None):
        return True
    if isinstance(data, Given) and "test" in data.given:
        return True
    return data.split.test is not None
