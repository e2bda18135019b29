"""The names of the trackers, which the command line offers before it imports any of them."""

from __future__ import annotations

from typing import Literal, get_args

TrackerName = Literal["csv", "parquet", "tensorboard", "mlflow", "wandb"]
TRACKERS = get_args(TrackerName)
