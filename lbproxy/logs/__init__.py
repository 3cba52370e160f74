"""CONTROL. Access log outputs: files with rotation, standard output, syslog."""
