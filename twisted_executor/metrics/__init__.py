"""All figures.  The only package that knows prometheus_client.

What counts is wrapped around what works: no pool and no executor counts for itself what is counted here.
"""
