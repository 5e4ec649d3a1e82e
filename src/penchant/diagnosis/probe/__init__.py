"""What a probe of a training run saw: findings, verdicts, and the page."""
