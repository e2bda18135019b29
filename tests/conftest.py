"""One thread an operation: the nets here are tiny, and waiting for other threads costs more than they give."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and inherited by child processes
