"""PURE. The clean end of a long-lived session: one module for each protocol."""
