"""Tests of firewalls with ``rules``; they need libmodsecurity and the OWASP Core Rule Set."""
