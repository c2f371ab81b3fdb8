"""Sorts are remembered in all tests of this folder."""

from remembered import remembered_sorts

__all__ = ["remembered_sorts"]
