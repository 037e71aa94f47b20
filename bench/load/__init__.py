"""Load, as clients make it: Locust users that check every answer, and the measurement that `make bench` runs."""
