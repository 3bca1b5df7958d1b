"""Serving: the right subnet for each request."""
