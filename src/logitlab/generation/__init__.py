"""A model, a prompt and a request become text."""
