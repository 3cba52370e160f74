"""DATA. TCP sessions: a client, a server, and bytes in both directions."""
