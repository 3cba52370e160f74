"""Python programs that the bench starts as rivals; they run in the rivals' environment."""
