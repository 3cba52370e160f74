"""CONTROL. Health checks, agents and name look-ups."""
