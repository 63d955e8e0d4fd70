"""When a new map takes the place of the one that serves: windows, drift, paired comparisons, the decision."""
