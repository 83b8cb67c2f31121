"""A server that runs untrusted scripts in warm, hardened Docker containers."""
