"""CONTROL. Active health checks, one file each."""
