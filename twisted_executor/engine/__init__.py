"""The control plane.  The only package that knows docker-py."""
