"""Several rules on one problem, side by side."""
