"""Measurements, each a program of its own. What is compared runs on the same terms as the service."""

import os

# As in the service: libgomp's and OpenBLAS's threads spin while they wait, at the expense of all else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
