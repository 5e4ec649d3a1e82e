"""The diagnosis of homogeneous networks."""
