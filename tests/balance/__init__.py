"""Tests of lbproxy.balance."""
