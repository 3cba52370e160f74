"""The compiled modules against their own sources: the same input has the same outcome."""
