"""PURE. From check results to verdicts."""
