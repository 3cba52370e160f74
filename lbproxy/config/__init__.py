"""PURE. From configuration text to frozen objects, with every error at its file and line."""
