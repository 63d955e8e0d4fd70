"""Training and analysis of a map: fit, checkpoints, clusters, figures, scores of local models."""
