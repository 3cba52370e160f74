"""CONTROL. The process: upgrade in place, systemd, watched files, garbage collection, replication
between processes.
"""
