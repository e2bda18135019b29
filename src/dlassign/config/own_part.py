"""OwnPart: what a family of a config may hold beside our own classes: a part of the user's own in a Python file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Union, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from dlassign.config.base import Config, broken_rule
from dlassign.errors import ConfigError, DlassignError, UserError

_FORM = re.compile(r"([^:]*\.py):([^:]*)")
KEYWORD = "ownPart"
"""Where a JSON Schema says which kind of own part a key may hold."""


class OwnCode(Protocol):
    """The user's code that may run; see parts/code.py: Code."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that are allowed, by their names without folder."""

    def names(self) -> Sequence[str]:
        """Return the names of all classes and functions that the files define."""

    def class_of(self, name: str, base: type[OwnPart]) -> type[OwnPart]:
        """Return the config class of a part such as `net.py:Net`, derived from the base of its family.

        Raises:
            UserError: it is not there, or is none of the kind of `base`.
        """

    def load(self, name: str) -> Callable[..., Any]:
        """Return the class or function of such a name."""

    def has(self, name: str) -> bool:
        """Return whether there is a class or function of such a name in its file."""

    def place(self, name: str, method: str = "") -> str:
        """Return where a class or function, or a method of it, is defined: `net.py:14`."""

    def fault(self, name: str, error: BaseException) -> str:
        """Return what a part's code raised, and at which line of it."""

    def raised(self, name: str, error: BaseException) -> bool:
        """Return whether an error comes from the code of a part."""

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what `make` gives; for the same key again the same object, until another key comes."""

    def sources(self, name: str) -> Mapping[str, bytes]:
        """Return the file of such a name and what it imports from beside it, by path below its folder."""

    def restore(self, name: str, base: type[OwnPart], values: Mapping[str, Any]) -> OwnPart:
        """Return the part with these values of its fields."""


class OwnPart(Config):
    """A part of the user's own. `config/own_keys.py: own_class` makes a class of it for each piece of code.

    Each family has a base derived from this one, with the keys that all of its members have, as `penalty` of losses.
    """

    own_kind: ClassVar[str]
    """One of parts/kinds.py: KINDS; set by the base of a family."""
    own_code: ClassVar[OwnCode]
    own_keys: ClassVar[tuple[str, ...]]
    """The keys that its code takes; all others are ours."""

    name: str
    """File and class or function, `net.py:Net`; without a folder, for no two files of a run have the same name."""
    code: str
    """Digest of the file and of what it imports from beside it. In the config, so that it is part of what a run is."""

    def keys(self) -> dict[str, Any]:
        """Return the keyword arguments for the user's class or function."""
        return {key: getattr(self, key) for key in self.own_keys}

    def load(self) -> Callable[..., Any]:
        """Return the user's class or function."""
        return self.own_code.load(self.name)

    def bound(self) -> Callable[..., Any]:
        """Return the user's function with its keys given, or the object that their class makes of them."""
        made = self.load()
        return made(**self.keys()) if isinstance(made, type) else partial(made, **self.keys())

    @contextmanager
    def calling(self, path: str, where: str = "") -> Iterator[None]:
        """Tell what the user's code raises in this block as a problem of the config.

        Args:
            path: dotted key that the problem is told at.
            where: with what it was called, such as `with samples of 2x1x8x8`.

        Raises:
            ConfigError: it raised something, or asked Python to exit; with its line.
        """
        try:
            yield
        except DlassignError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError.at(path, f"{where}: {self.fault(error)}" if where else self.fault(error)) from error

    def fault(self, error: BaseException) -> str:
        """Return what the user's code raised, and at which line of it."""
        return self.own_code.fault(self.name, error)

    def __reduce__(self) -> tuple[Any, ...]:
        # Its class is made in memory, so another process makes it again, from the same code.
        values = {key: getattr(self, key) for key in type(self).model_fields if key not in ("name", "code")}
        return self.own_code.restore, (self.name, type(self).__base__, values)


def own_parts(value: Any) -> Iterator[OwnPart]:
    """Yield every own part of a config."""
    if isinstance(value, OwnPart):
        yield value
    elif isinstance(value, Config):
        for key in type(value).model_fields:
            yield from own_parts(getattr(value, key))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from own_parts(item)


@contextmanager
def naming_own_code(config: Config) -> Iterator[None]:
    """Tell what a user's own code raises, wherever it is called from, in one message with its line.

    Raises:
        UserError: the code of an own part of the config has raised something else than our errors.
    """
    try:
        yield
    except DlassignError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        for part in own_parts(config):
            if part.own_code.raised(part.name, error):
                raise UserError(f"{part.name} failed: {part.fault(error)}") from error
        names = ", ".join(part.name for part in own_parts(config))
        # What the user's code returns may fail only later, in torch or in ours.
        if names and isinstance(error, ValueError | TypeError | AttributeError | RuntimeError | KeyError):
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            raise UserError(
                f"failed with parts of your own, {names}: {said}; does one return something else later?"
            ) from error
        raise


def split_name(name: Any) -> tuple[str, str] | None:
    """Return file and class of a name of the form `FILE.py:NAME`; None for other names."""
    found = _FORM.fullmatch(name) if isinstance(name, str) else None
    return (found[1], found[2]) if found else None


def file_and_name(name: str) -> tuple[str, str]:
    """Return file and class of an own part's name, `FILE.py:NAME`."""
    found = split_name(name)
    assert found is not None, f"{name} is no own part"
    return found


@dataclass(frozen=True)
class Allowed:
    """What validation knows of own parts, as pydantic's context.

    Attributes:
        code: the user's code that may run; None: none may.
        refused: why a part may not be used, by its name.
    """

    code: OwnCode | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OrOwn:
    """Marks a union of config classes, `base` among them, as a family that takes own parts.

    Attributes:
        base: from which the classes of its own parts are derived.
    """

    base: type[OwnPart]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Leave ours to pydantic; a mapping with the name of an own part is checked by the class made for that."""
        ours = [kind for kind in get_args(source) if kind is not self.base]
        family = Annotated[Union[tuple(ours)], Field(discriminator="name")] if len(ours) > 1 else ours[0]  # noqa: UP007
        check = partial(_ours_or_own, self.base)
        # Written by the class that it has: the union knows no class that is made later.
        written = core_schema.any_schema()["type"]
        return core_schema.with_info_wrap_validator_function(
            check, handler.generate_schema(family), serialization=core_schema.simple_ser_schema(written)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe ours, and say which kind of own part may stand in their place."""
        return {**handler(schema), KEYWORD: self.base.own_kind}


def _ours_or_own(base: type[OwnPart], value: Any, ours: Callable[[Any], Any], info: ValidationInfo) -> Any:
    """Check a section: an own part by the class of its code, anything else as it is without own parts.

    Raises:
        PydanticCustomError: the part may not be used, at its name or its digest.
        ValidationError: its keys are wrong.
    """
    name = value.get("name") if isinstance(value, dict) else None
    if isinstance(value, OwnPart):
        return value
    if not isinstance(name, str) or split_name(name) is None:
        return ours(value)
    allowed = info.context if isinstance(info.context, Allowed) else Allowed()
    if allowed.code is None or name in allowed.refused:
        raise broken_rule("name", allowed.refused.get(name, f"{name} is code of your own, and none is allowed to run"))
    try:
        own = allowed.code.class_of(name, base)
    except UserError as error:
        raise broken_rule("name", str(error)) from None
    given, now = value.get("code"), own.model_fields["code"].default
    if given not in (None, now):
        message = f"this config was written with other code ({given}, now {now})"
        raise broken_rule("code", f"{message}; put the file back as it was, or remove this key")
    return own.model_validate({**value, "code": now}, context=info.context)
