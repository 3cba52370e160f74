"""CONTROL. Events and alerts: watch the counters, notify operators."""
