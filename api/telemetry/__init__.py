"""What the service says of itself while it works: stages and calls as numbers, traces, logs. Every layer may use it."""
