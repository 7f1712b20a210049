"""The service and the command line. Imports `indexer` and `model`."""

import os

# Read once, when torch loads OpenMP: idle threads that spin take 3-8x from everybody else on a busy CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
