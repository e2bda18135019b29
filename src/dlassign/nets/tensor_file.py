"""Tensors and plain values that torch.save wrote, read back without running code, whatever the bytes hold."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from typing import Any

import torch


def load_tensors(data: bytes) -> Any:
    """Return what torch.save wrote.

    Raises:
        pickle.UnpicklingError: it holds something other than tensors and plain values, or is damaged.
        ValueError: it is damaged, or torch.save did not write it.
    """
    file = io.BytesIO(data)
    try:
        if zipfile.is_zipfile(file) and (broken := zipfile.ZipFile(file).testzip()):  # torch checks no sums
            raise ValueError(f"the sum of {broken} in it is wrong")
        file.seek(0)
        with warnings.catch_warnings(action="ignore"):  # torch's own, of what is an error here or does no harm
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, MemoryError):
        raise
    except Exception as error:  # of any kind: neither zipfile nor torch says what a flipped bit makes them raise
        raise ValueError(str(error).partition("\n")[0]) from error
