"""Letting new rows into the local models of a version that serves."""
