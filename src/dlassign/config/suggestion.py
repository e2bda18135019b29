"""Which known word a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SYNONYMS = {"learning_rate": "lr", "max_steps": "steps", "num_epochs": "epochs", "hidden_layers": "hidden"}
_SYNONYMS |= {"yes": "on", "no": "off", "min": "low", "max": "high"}


def did_you_mean(word: str, known: Iterable[str], *, most: int = 1) -> str:
    """Return ` Did you mean 'x'?` with a leading space, or "" if no known word is near.

    Args:
        word: what the user wrote.
        known: what could stand there; case does not matter.
        most: how many words are named.
    """
    lowered = {name.lower(): name for name in known}
    if (synonym := _SYNONYMS.get(word.lower())) in lowered.values():
        return f" Did you mean {synonym!r}?"
    close = get_close_matches(word.lower().replace("-", "_"), lowered, n=most, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(lowered[near]) for near in close)}?" if close else ""
