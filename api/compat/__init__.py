"""The APIs of others over the same service, so that their clients need another address and nothing else."""
