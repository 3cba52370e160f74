"""PURE. Counters, access log lines, events and alert rules."""
