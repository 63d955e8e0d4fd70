"""Tests, file for file beside the source."""
