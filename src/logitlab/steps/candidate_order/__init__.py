"""Chains on candidates that stand in an order, and the sorts that put them there."""
