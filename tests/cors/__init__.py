"""The rules of the CORS proxy."""
