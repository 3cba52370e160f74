"""PURE. Conversion of check results and traffic outcomes to the health of servers."""
