"""The diagnosis of linear classification."""
