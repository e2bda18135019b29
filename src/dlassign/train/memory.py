"""Memory that has run out, told from other errors and said in plain words."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dlassign.errors import UserError

_CUDA_ERROR_MEMORY_ALLOCATION = 2
"""The `error_code` that torch.AcceleratorError has then."""
# The CPU's allocator and the libraries of CUDA have no error type of their own; torch raises a RuntimeError that names
# them. The last is a size that has too many digits to be asked for at all.
_WORDINGS = re.compile(
    "out of memory|DefaultCPUAllocator|cannot allocate memory|STATUS_ALLOC_FAILED|storage size calculation overflowed",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if getattr(error, "error_code", None) == _CUDA_ERROR_MEMORY_ALLOCATION:
        return True
    if not isinstance(error, RuntimeError):
        return False
    # torch.save closes its file when memory has run out, and that raises another error in place of the first.
    before = error.__cause__ or error.__context__
    return _WORDINGS.search(str(error)) is not None or (before is not None and is_out_of_memory(before))


@contextmanager
def naming_memory() -> Iterator[None]:
    """Say in plain words that memory has run out.

    Raises:
        UserError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = "out of memory; use a smaller train.batch_size, train.eval_batch_size or model, then go on"
        details = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise UserError(f"{message}{details}") from error


def free_memory() -> None:
    """Give back what a failed run may have left on a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
