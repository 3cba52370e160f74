"""DATA. TCP sessions and HTTP exchanges, from accepted client to server and back."""
