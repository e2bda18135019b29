"""From the keyword arguments of a user's class or function to a config class that checks them like keys of ours."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, PydanticUserError, TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError

from dlassign.config.own_part import OwnCode, OwnPart

_PLAIN = (int, float, bool, str, type(None))
REQUIRED = object()
"""The default of a key that must be given."""
CAN_BE = "int, float, bool, str, Literal, None, a tuple, list or dict of these, or Annotated[int, Field(ge=1)]"


@dataclass(frozen=True)
class OwnKey:
    """A keyword argument of a user's class or function.

    Attributes:
        name: of the argument.
        annotation: its type, evaluated.
        default: REQUIRED, or what it is where a config does not give it.
        text: what its docstring says of it, or "".
    """

    name: str
    annotation: Any
    default: Any
    text: str = ""


class UnfitKey(ValueError):
    """A keyword argument that cannot be a key; `key` is its name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def own_class(
    name: str, keys: Sequence[OwnKey], *, base: type[OwnPart], origin: OwnCode, digest: str, text: str
) -> type[OwnPart]:
    """Return the config class of a part.

    Args:
        name: such as `net.py:Net`.
        keys: what the class or function takes by keyword.
        base: of its family; the class is derived from it.
        origin: the code that it is part of.
        digest: of the file and what it imports from beside it.
        text: what it is, in one sentence.

    Raises:
        UnfitKey: an annotation says no type that a YAML file can hold, or a default is not of its type.
    """
    fields: dict[str, Any] = {
        "name": (Literal[name], Field(description=text)),
        "code": (Literal[digest], Field(default=digest, description="Digest of the code.")),
    }
    for key in keys:
        fields[key.name] = _field(key, base)
    try:
        made = create_model("Own", __base__=base, __doc__=text, **fields)
        made.model_rebuild()  # so that an annotation that does not fit is found here
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError) as error:
        raise UnfitKey(keys[0].name if keys else "", str(error).splitlines()[0]) from None
    made.own_code = origin
    made.own_keys = tuple(key.name for key in keys)
    return made


def fits(annotation: Any, value: Any) -> bool:
    """Return whether an annotation takes a value; one that says no type of plain values takes any."""
    try:
        kind = _checked(annotation)
        TypeAdapter[Any](kind, config=ConfigDict(strict=True)).validate_python(_as_yaml(value))
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError):
        return True
    except ValueError:
        return False
    return True


def _field(key: OwnKey, base: type[OwnPart]) -> tuple[Any, Any]:
    if key.name in base.model_fields or key.name.startswith("_") or hasattr(base, key.name):
        raise UnfitKey(key.name, f"{key.name!r} cannot be a key of a config, where it means something else; rename it")
    kind = _key_type(key)
    text = key.text or f"Argument {key.name}."
    if key.default is REQUIRED:
        return kind, Field(description=text)
    try:
        default = TypeAdapter[Any](kind, config=ConfigDict(strict=True)).validate_python(_as_yaml(key.default))
    except ValueError as error:
        reason = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
        raise UnfitKey(
            key.name, f"the default {key.default!r} of {key.name} is not what its annotation says ({reason})"
        ) from None
    return kind, Field(default=default, description=text)


def _as_yaml(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _key_type(key: OwnKey) -> Any:
    try:
        return _checked(key.annotation)
    except TypeError as error:
        message = f"{key.name} is annotated with {error}, which no YAML file can hold; use {CAN_BE}"
        raise UnfitKey(key.name, message) from None


def _checked(annotation: Any) -> Any:
    """Return a type of plain values as pydantic checks it: YAML lists become tuples, numbers are finite.

    Raises:
        TypeError: it is no such type; the message is the type.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_checked(inner[0]), *inner[1:])]
    if annotation is float:
        return Annotated[float, Field(allow_inf_nan=False)]
    if annotation in _PLAIN or annotation is None or origin is Literal:
        return annotation
    if origin is tuple and inner:
        kept = tuple(item if item is Ellipsis else _checked(item) for item in inner)
        return Annotated[tuple[kept], BeforeValidator(_as_tuple)]  # type: ignore[valid-type]
    if origin is list:
        return list[_checked(inner[0])]  # type: ignore[misc]
    if origin is dict and inner[0] is str:
        return dict[str, _checked(inner[1])]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        return Union[tuple(_checkable(inner))]  # noqa: UP007
    raise TypeError(getattr(annotation, "__name__", None) or str(annotation))


def _checkable(inner: Sequence[Any]) -> list[Any]:
    """Return those members of a union that a YAML file can hold, such as float of torch's `float | Tensor`.

    Raises:
        TypeError: there is none but None.
    """
    kept, refused = [], []
    for item in inner:
        try:
            kept.append(_checked(item))
        except TypeError as error:
            refused.append(error)
    if refused and not [item for item in kept if item is not type(None)]:
        raise refused[0]
    return kept


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
