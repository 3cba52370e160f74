"""DATA. TCP sessions: a client, a server, and bytes both ways."""
