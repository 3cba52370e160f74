"""DATA. Listeners, dialling, transports, relays and timers. This package moves bytes and does not
interpret them.
"""
