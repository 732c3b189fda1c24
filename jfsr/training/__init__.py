"""Running a method: devices, checkpoints, warm start, logs, validation."""
