"""Measurements, each a program of its own. What is compared runs on the same terms as the service."""

import os

# As `tritone up` starts Triton: libgomp's threads spin while they wait, at the expense of all else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
