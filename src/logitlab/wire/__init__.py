"""Requests and responses as API clients know them, without a network."""
