"""The names of what a net is exported as, which the command line offers before it imports torch."""

from __future__ import annotations

KINDS = ("safetensors", "onnx", "pt2", "hf")
