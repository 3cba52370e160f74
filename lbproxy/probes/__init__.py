"""CONTROL. Active health checks, one module each."""
