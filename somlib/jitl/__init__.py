"""Just-in-time learning: local models on a map, which learn and answer at once."""

from somlib.jitl.regressor import JITLPrediction, JITLRegressor
from somlib.jitl.sample_index import Buffers, SampleIndex

__all__ = ["Buffers", "JITLPrediction", "JITLRegressor", "SampleIndex"]
