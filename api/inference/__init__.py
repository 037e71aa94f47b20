"""The models, as the rest of the service sees them: a protocol per task, with Triton and fakes behind it."""
