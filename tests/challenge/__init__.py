"""Tests of :mod:`lbproxy.challenge`."""
