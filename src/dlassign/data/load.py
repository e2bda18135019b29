"""Reads the data that a config describes. Only this file, own_data.py and own_step.py know config classes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, assert_never

from dlassign.config import data as config
from dlassign.config.data import Data
from dlassign.data import known_files, sources
from dlassign.data.arrays import not_in_memory
from dlassign.data.bundle import DataInfo, Dataset, Raw, check_raw
from dlassign.data.csv_table import Table, encoded, read_table
from dlassign.data.image_folder import FolderSource, Images
from dlassign.data.image_layout import layout_advice
from dlassign.data.image_pixels import Decoding
from dlassign.data.own_data import own_samples
from dlassign.data.own_step import described
from dlassign.data.preprocess_chain import Shape
from dlassign.data.preprocess_steps import make_steps
from dlassign.data.split import deal, shuffled, split_sizes
from dlassign.data.table_columns import Rule, clean
from dlassign.data.variants import training_size
from dlassign.errors import ConfigError, DataError

AS_BEFORE = (
    "the images are those of the run, but an earlier version decoded them: EXIF was ignored, transparency dropped, and "
    "deep pixels taken for 16 bits; they were decoded in that way again"
)
"""What is said where a run of an earlier version goes on or is evaluated."""


def find_images(cfg: Data, *, as_before: bool = False) -> Images | None:
    """Find the images of a folder, for the functions below, which else look for them again; None for other sources.

    Args:
        cfg: section `data`.
        as_before: decode them as earlier versions did (see `image_pixels.Decoding`).

    Raises:
        DataError: a folder is missing or empty.
        ConfigError: there is no such colour as `data.background`.
    """
    return _images(cfg, as_before=as_before) if isinstance(cfg, config.ImageFolder) else None


def load_dataset(cfg: Data, *, images: Images | None = None, raw: Raw | None = None) -> Dataset:
    """Read a source and split it into train, val and test, without preprocessing.

    Args:
        cfg: section `data`.
        images: those that it names, if they have been found already.
        raw: the samples of `name: arrays`.

    Raises:
        DataError: the source is missing, damaged or not what the config says.
        ConfigError: the split does not fit the source.
    """
    if raw is not None or isinstance(cfg, config.OwnData):
        return _deal(cfg, check_raw(_given(cfg, raw or _read(cfg))))
    if isinstance(cfg, config.CSVTable):
        table = _table(cfg)
        return encoded(table, _deal(cfg, check_raw(table.raw(cfg.label))))
    return _deal(cfg, _in_order(cfg, check_raw(_read(cfg, images))))


def _given(cfg: Data, raw: Raw) -> Raw:
    """Return samples in memory if they are those that a config speaks of."""
    if not isinstance(cfg, config.Given):
        message = f"samples are given, but the config trains on {cfg.name}; use `data: {{name: arrays}}`"
        raise ConfigError.at("data.name", message)
    given = [name for name in raw.splits if name != "train"]
    if set(given) != set(cfg.given):
        has = f"[{', '.join(given)}]"
        raise ConfigError.at("data.given", f"beside train, the samples have the splits {has}; write `given: {has}`")
    return raw


def list_samples(cfg: Data, *, images: Images | None = None) -> dict[str, list[tuple[str, str]]]:
    """Return the name and the class of the samples of each split, in the order of the split.

    A name is the path of an image, the file and line of a row, `table.csv:19`, or the set and the number of the sample
    in it, counted from 0, as in `mnist/test[17]`.

    Raises:
        DataError, ConfigError: as `load_dataset`.
    """
    images = images or find_images(cfg)
    if images is None:
        dealt = _deal(cfg, check_raw(_read(cfg)))
    else:
        images.sha256()  # so that bad images are known; those that are cached are not read for their names
        dealt = outline(cfg, images)
    names = names_of(cfg, dealt, images)
    return {
        part: [(name, dealt.classes[y]) for name, y in zip(names[part], split.y.tolist(), strict=True)]
        for part, split in dealt.splits.items()
    }


def outline(cfg: Data, images: Images) -> Dataset:
    """Return the images of a folder, split, but without pixels, x (N, 0); see `Images.outline`."""
    return _deal(cfg, _in_order(cfg, images.outline()))


def names_today(cfg: Data, recorded: Mapping[str, Any]) -> tuple[dict[str, list[str]], bool]:
    """Return the names that `list_samples` gives, and whether they are those of a run; no image is decoded for it.

    Args:
        cfg: section `data` of the run.
        recorded: `data` of the first record of its log.

    Raises:
        DataError, ConfigError: as `load_dataset`.
    """
    images = find_images(cfg)
    dealt = load_dataset(cfg) if images is None else outline(cfg, images)
    digest = dealt.sha256 if images is None else images.known_sha256()
    # Without a digest the sizes must do: in another set of images a split would seldom be as large.
    same = digest in (None, recorded["sha256"]) and all(
        recorded.get(f"n_{name}", size) == size for name, size in sizes_of_run(cfg, dealt).items()
    )
    return names_of(cfg, dealt, images), same


def names_of_run(cfg: Data, dataset: Dataset) -> dict[str, list[str]]:
    """Return the names that `list_samples` gives, of the data that `data_of_run` gave."""
    images = find_images(cfg)
    if images is not None and images.sha256() != dataset.sha256:
        images = find_images(cfg, as_before=True)
    return names_of(cfg, dataset, images)


def names_of(cfg: Data, dataset: Dataset, images: Images | None) -> dict[str, list[str]]:
    """Return what the samples of each split are called, as by `list_samples`; images: those of the data set."""
    if images is not None:
        paths = images.names()
        return {
            name: [paths[dataset.origin[name]][n] for n in numbers.tolist()]
            for name, numbers in dataset.numbers.items()
        }
    found = {}
    for name, numbers in dataset.numbers.items():
        folder = f"/{dataset.origin[name]}" if len(set(dataset.origin.values())) > 1 else ""
        before, after = (f"{cfg.path}:", "") if isinstance(cfg, config.CSVTable) else (f"{dataset.label}{folder}[", "]")
        found[name] = [f"{before}{n}{after}" for n in numbers.tolist()]
    return found


def data_of_run(cfg: Data, dataset: Dataset, recorded: Mapping[str, Any]) -> Dataset:
    """Return the data that a run was trained on: `dataset`, or the same images decoded as earlier versions did.

    Args:
        cfg: section `data`.
        dataset: what it gives today.
        recorded: `data` of the first record of the run's log.

    Raises:
        DataError: it is other data; the message says in what it differs.
    """
    if dataset.sha256 == recorded["sha256"]:
        return dataset
    if (images := find_images(cfg, as_before=True)) is not None:
        with suppress(DataError):  # such as pixels that earlier versions could not read
            former = load_dataset(cfg, images=images)
            if former.sha256 == recorded["sha256"]:
                return replace(former, notes=(*former.notes, AS_BEFORE))
    key = "path" if isinstance(cfg, config.CSVTable) else "root"
    cure = "give those" if isinstance(cfg, config.Given) else f"point to the right data with --set data.{key}=..."
    raise DataError(
        f"the data is not that of the run ({_difference(cfg, dataset, recorded)}): its digest is "
        f"{dataset.sha256[:12]}, the run's {recorded['sha256'][:12]}; {cure}"
    )


def _difference(cfg: Data, dataset: Dataset, recorded: Mapping[str, Any]) -> str:
    """Return in what data differs from that of a run, as far as the run's log tells."""
    found: dict[str, Any] = {"classes": list(dataset.classes), "raw_shape": list(dataset.train.x.shape[1:])}
    found |= {f"n_{name}": size for name, size in sizes_of_run(cfg, dataset).items()}
    changed = [key for key, value in found.items() if recorded.get(key, value) != value]
    if not changed:
        return "values or labels have changed, though sizes and classes are the same"
    return "; ".join(f"{key} is {found[key]}, the run's {recorded[key]}" for key in changed)


def sizes_of_run(cfg: Data, dataset: Dataset) -> dict[str, int]:
    """Return how many samples a run has of each split; its training split has the copies of preprocessing."""
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    return sizes | {"train": training_size(sizes["train"], make_steps(preprocess_steps(cfg)))}


def fingerprint(cfg: Data, *, images: Images | None = None) -> str:
    """Return the digest of a source's content, the `sha256` of its data set, without importing torch.

    The content of MNIST and CIFAR-10 is known and checked when it is read, so their files may be missing here.

    Raises:
        DataError: a folder or a table is missing or damaged.
    """
    match cfg:
        case config.Digits():
            return sources.DIGITS_SHA256
        case config.MNIST():
            return known_files.MNIST_FILES.sha256()
        case config.CIFAR10():
            return known_files.CIFAR10_FILES.sha256()
        case config.ImageFolder():
            return (images or _images(cfg)).sha256()
        case config.CSVTable() | config.Toy() | config.OwnData():
            return _read(cfg).sha256
        case config.Arrays():
            raise not_in_memory()
        case _:
            assert_never(cfg)


def describe(cfg: Data, *, images: Images | None = None, raw: Raw | None = None) -> DataInfo:
    """Return shape, classes and split sizes without reading all data; the arguments are those of `load_dataset`.

    The files of MNIST and CIFAR-10 may be missing. Images that `skip_bad` will leave out are counted too.

    Raises:
        DataError: a folder or a table is missing or damaged.
        ConfigError: the split does not fit the source.
    """
    if raw is not None:
        return _dealt_info(cfg, raw.train.x.shape[1:], load_dataset(cfg, raw=raw))
    match cfg:
        case config.Digits():
            return _info(cfg, (1, 8, 8), classes=sources.DIGIT_NAMES, n_train=1797)
        case config.MNIST():
            return _info(cfg, (1, 28, 28), classes=sources.DIGIT_NAMES, n_train=60_000, n_test=10_000)
        case config.CIFAR10():
            return _info(cfg, (3, 32, 32), classes=known_files.CIFAR10_NAMES, n_train=50_000, n_test=10_000)
        case config.ImageFolder():
            found = images or _images(cfg)
            return _dealt_info(cfg, found.shape(), _deal(cfg, found.outline()))
        case config.CSVTable() | config.OwnData():
            dealt = load_dataset(cfg)
            return _dealt_info(cfg, dealt.train.x.shape[1:], dealt)
        case config.Toy():
            return _info(cfg, (4,), classes=("0", "1", "2"), n_train=5)
        case config.Arrays():
            raise not_in_memory()
        case _:
            assert_never(cfg)


def _dealt_info(cfg: Data, shape: Shape, dealt: Dataset) -> DataInfo:
    n_train = training_size(len(dealt.train), make_steps(preprocess_steps(cfg)))
    n_val, n_test = (0 if part is None else len(part) for part in (dealt.val, dealt.test))
    return DataInfo(shape, len(dealt.classes), n_train, n_val, n_test, dealt.classes, dealt.notes)


def require_data(cfg: Data) -> None:
    """See that the files of a set that `describe` knows by heart are there, unless training will download them.

    Raises:
        DataError: one is not.
    """
    if isinstance(cfg, config.MNIST | config.CIFAR10) and not cfg.download:
        known = known_files.MNIST_FILES if isinstance(cfg, config.MNIST) else known_files.CIFAR10_FILES
        known_files.require_files(known, cfg.root)


def decoding_of(cfg: Data, shape: Shape, *, bits: int | None = None) -> Decoding | None:
    """Return how a new picture becomes a raw sample of this shape, as the images of the source did; None of rows.

    An image of another size is resized to that of the samples, also where training demanded one size.

    Args:
        cfg: section `data`.
        shape: of a raw sample.
        bits: of deep images in the run's data, as its log has it; earlier versions did not write it.

    Raises:
        ConfigError: there is no such colour as `data.background`.
    """
    if len(shape) == 1:
        return None
    channels, height, width = shape
    if not isinstance(cfg, config.ImageFolder):
        return Decoding(size=(height, width), grayscale=channels == 1)
    how = _folder_source(cfg).decoding()
    return replace(how, size=(height, width), bits=bits if cfg.bits is None else cfg.bits)


def preprocess_steps(cfg: Data) -> tuple[dict[str, Any], ...]:
    """Return the descriptions of the preprocessing steps, which `prepare` takes."""
    return tuple(described(step) for step in cfg.preprocess or ())


def _deal(cfg: Data, raw: Raw) -> Dataset:
    s = cfg.split
    return deal(raw, train=s.train, val=s.val, test=s.test, by=s.by, val_at=s.val_at, seed=s.seed)


def _in_order(cfg: Data, raw: Raw) -> Raw:
    """Return a source in the order that the config asks for."""
    if isinstance(cfg, config.ImageFolder) and cfg.shuffle_seed is not None:
        return shuffled(raw, cfg.shuffle_seed)
    return raw


def _read(cfg: Data, images: Images | None = None) -> Raw:
    match cfg:
        case config.Digits():
            return sources.digits()
        case config.MNIST():
            return sources.mnist(cfg.root, download=cfg.download)
        case config.CIFAR10():
            return sources.cifar10(cfg.root, download=cfg.download)
        case config.ImageFolder():
            return (images or _images(cfg)).read()
        case config.CSVTable():
            return _table(cfg).raw(cfg.label)
        case config.Toy():
            return sources.toy()
        case config.OwnData():
            return own_samples(cfg)
        case config.Arrays():
            raise not_in_memory()
        case _:
            assert_never(cfg)


def _table(cfg: config.CSVTable) -> Table:
    return read_table(
        cfg.path,
        label_column=cfg.label_column,
        header=cfg.header,
        delimiter=cfg.delimiter,
        drop=cfg.drop,
        rules={name: _rule(column) for name, column in cfg.columns.items()},
        missing=cfg.missing,
        decimal=cfg.decimal,
    )


def _rule(column: Literal["one_hot"] | config.TableColumn) -> Rule:
    if isinstance(column, str):
        return Rule("one_hot")
    kind = "one_hot" if column.one_hot else "ordinal" if column.ordinal else "number"
    return Rule(kind, tuple(clean(text) for text in column.ordinal or ()), column.missing)


def _images(cfg: config.ImageFolder, *, as_before: bool = False) -> Images:
    parts = {"train": cfg.train, "val": cfg.val, "test": cfg.test}
    advice = layout_advice(cfg.root, parts, split=cfg.split.model_dump(exclude_unset=True))
    if advice is not None:
        raise DataError(advice)
    return Images(replace(_folder_source(cfg), as_before=as_before))


def _folder_source(cfg: config.ImageFolder) -> FolderSource:
    return FolderSource(
        root=cfg.root,
        train=cfg.train,
        val=cfg.val,
        test=cfg.test,
        size=(cfg.size[0], cfg.size[1]) if cfg.size is not None else None,
        grayscale=cfg.grayscale,
        background=_colour(cfg.background),
        bits=cfg.bits,
        fit=cfg.fit,
        skip_bad=cfg.skip_bad,
        pattern=cfg.split.pattern,
        label=cfg.label,
        cache=cfg.cache,
    )


def _colour(name: str) -> tuple[int, int, int]:
    if name == "white":
        return 255, 255, 255
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(name)
    except ValueError:
        raise ConfigError.at(
            "data.background", f"{name!r} is no colour; give a name such as black, or '#rrggbb' in quotes"
        ) from None
    return red, green, blue


def _info(
    cfg: Data,
    shape: Shape,
    *,
    classes: tuple[str, ...],
    n_train: int,
    n_test: int | None = None,
) -> DataInfo:
    s = cfg.split
    sizes = split_sizes(n_train, n_test, train=s.train, val=s.val, test=s.test)
    n = training_size(sizes.train, make_steps(preprocess_steps(cfg)))
    return DataInfo(shape, len(classes), n, sizes.val or 0, sizes.test or 0, classes)
