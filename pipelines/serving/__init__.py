"""The HTTP service and the smoke test of a version."""
