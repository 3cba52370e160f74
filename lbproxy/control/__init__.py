"""CONTROL. Everything that changes state in the background."""
