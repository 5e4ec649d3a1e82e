"""Ratios of penchant to its peers, each pair measured in the same run."""
