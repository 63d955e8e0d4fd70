"""Flows: each reads as the list of its steps."""

from pipelines.flows.train import train_flow

__all__ = ["train_flow"]
