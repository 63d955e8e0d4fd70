"""Drift of new rows, and the assignment of rows to neurons that it is measured on."""
