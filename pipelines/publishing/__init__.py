"""What a training leaves in MLflow, and its result."""
