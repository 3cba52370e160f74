"""Attacks on a running proxy, and what its ordinary clients notice: ``make siege``."""
