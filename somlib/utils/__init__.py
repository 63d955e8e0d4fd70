"""The mathematics: pure functions on tensors, with no state and no knowledge of a SOM object."""
