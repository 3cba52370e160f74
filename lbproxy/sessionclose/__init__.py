"""PURE. How to end a long-lived session politely: one module for each protocol."""
