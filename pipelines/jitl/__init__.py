"""Local models on a map, which predict just in time, and what they are measured against."""
