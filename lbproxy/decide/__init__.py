"""CONTROL. Decisions without traffic: ``lbproxy explain`` and ``lbproxy replay``."""
