"""DATA. HTTP exchanges: a client's request, the attempts at servers, the response."""
