"""Memory that has run out is said in plain words, on the CPU and on GPUs, whatever torch calls it."""

from __future__ import annotations

import pytest
import torch

from dlassign.errors import UserError
from dlassign.train.memory import is_out_of_memory, naming_memory


def test_too_large_a_tensor_on_the_cpu_is_named() -> None:
    for size in (2**50, 2**62):  # more than there is; more than can be asked for
        with pytest.raises(UserError, match=r"^out of memory; use a smaller train\.batch_size"), naming_memory():
            torch.empty(size)


def coded(code: int) -> RuntimeError:
    """An error as torch.AcceleratorError is."""
    error = RuntimeError("CUDA error: something that a later version says")
    error.error_code = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: not enough memory: you tried"),
        coded(2),
    ],
    ids=str,
)
def test_every_wording_of_a_full_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("first", [MemoryError(), RuntimeError("out of memory"), KeyError("unrelated")], ids=repr)
def test_an_error_in_the_handling_of_a_full_memory_is_one_too(first: Exception) -> None:
    """As torch.save raises it: what was written so far no longer ends where its zip file does."""

    def save() -> None:
        try:
            raise first
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError if isinstance(first, KeyError) else UserError), naming_memory():
        save()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: device-side assert triggered"), coded(700), ValueError("out of memory")],
    ids=str,
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), naming_memory():
        raise error
