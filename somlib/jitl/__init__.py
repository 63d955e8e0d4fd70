"""Just-in-time learning: local models on a map, which learn and answer at once."""

from somlib.jitl.classifier import JITLClassification, JITLClassifier
from somlib.jitl.regressor import JITLPrediction, JITLRegressor
from somlib.jitl.sample_index import Buffers, SampleIndex

__all__ = ["Buffers", "JITLClassification", "JITLClassifier", "JITLPrediction", "JITLRegressor", "SampleIndex"]
