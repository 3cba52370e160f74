"""DATA. Listeners, dialling, transports, relays and timers: bytes, without meaning."""
