"""PURE. Who may pass: address lists and connection limits."""
