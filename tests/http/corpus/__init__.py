"""Inputs for the HTTP/1 codec with the verdict on each."""
