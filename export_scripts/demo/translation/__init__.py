"""The demo translator: English and Spanish of the demo speech model's vocabulary."""
