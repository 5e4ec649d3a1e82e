"""State space models: the run, the flow at its loss, and the flow's limit."""
