"""Other people's frameworks: nothing here is imported by another folder."""
