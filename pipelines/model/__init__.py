"""What is published: the map with its scaler, clusters, profile and local models."""
