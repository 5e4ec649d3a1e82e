"""Regression: which sharpness a run lowered along its minimisers, on the slow clock."""
