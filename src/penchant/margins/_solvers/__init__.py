"""The engines behind `max_margin`: exact methods, and one of first order."""
