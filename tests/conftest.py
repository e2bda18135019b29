"""One thread an operation: the nets here are tiny, and waiting for other threads costs more than they give."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and inherited by child processes

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def gpu_or_a_pretended_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test that is marked `gpu` on the machine's GPU, or on a pretended one where there is none."""
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    import torch

    from helpers.pretended_gpu import pretended_gpu

    if torch.cuda.is_available():
        yield
        return
    with pretended_gpu():
        yield
