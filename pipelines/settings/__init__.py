"""What the user configures: the experiment file and its sections."""
