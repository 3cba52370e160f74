"""DATA. Certificates and TLS contexts for both sides."""
