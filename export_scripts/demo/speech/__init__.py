"""What the demo models' recipes share: synthetic speech, and what rooms and microphones do to it."""
