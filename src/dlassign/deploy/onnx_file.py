"""The graph as an ONNX file, with labels and preprocessing in its metadata, and its scores by onnxruntime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch

from dlassign.data.bundle import Samples
from dlassign.deploy.classifier import Scores
from dlassign.deploy.trained import Trained
from dlassign.errors import UserError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INSTALL = "pip install 'dlassign[export]'"
INPUT, OUTPUT = "samples", "scores"
OPSET = 18
"""The first in which images are resized as torch does it; older runtimes read it than read a newer one."""
LARGEST = 2**31 - 1
"""Bytes of one ONNX file; what is larger would need files beside it."""


def missing_packages() -> list[str]:
    """Return the packages that ONNX needs and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def require_packages() -> None:
    """See that ONNX can be written.

    Raises:
        UserError: a package is missing; the message has the line that installs it.
    """
    if missing := missing_packages():
        are = "is" if len(missing) == 1 else "are"
        raise UserError(f"for ONNX {', '.join(missing)} {are} missing: {INSTALL}; --to safetensors needs none of them")


def traced(trained: Trained) -> torch.export.ExportedProgram:
    """Return the graph as a program for batches of any size."""
    graph = trained.graph()
    intake = trained.intake
    kind = torch.uint8 if len(intake.shape) == 3 else torch.float64
    # Of two samples: of one, the size of the batch would be taken for a constant.
    example = torch.zeros((2, *intake.shape), dtype=kind)
    with _quiet(), torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def onnx_bytes(program: torch.export.ExportedProgram, trained: Trained) -> bytes:
    """Return the content of an ONNX file.

    Raises:
        UserError: it would be larger than one file can be.
    """
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for key, text in metadata(trained).items():
        proto.metadata_props.add(key=key, value=text)
    if proto.ByteSize() > LARGEST:
        raise UserError("the model is too large for one ONNX file (2 GB); leave it out with --to safetensors --to pt2")
    content: bytes = proto.SerializeToString()
    return content


def metadata(trained: Trained) -> dict[str, str]:
    """Return what a program must know to feed the graph and to read its scores, by name, as JSON."""
    intake = trained.intake
    how = {"shape": list(intake.shape), "white": intake.white}
    how |= {} if intake.decoding is None else asdict(intake.decoding)
    return {"labels": json.dumps(list(trained.labels)), "preprocessing": json.dumps(how)}


class OnnxScores:
    """Scores by onnxruntime on the CPU.

    Args:
        path: of the ONNX file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: Samples) -> Scores:
        """Return scores (N, K); x: (N, ...) raw."""
        scores: Scores = self._session.run([OUTPUT], {INPUT: x})[0]
        return scores


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporters say of their own inner workings, as warnings and in their logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
