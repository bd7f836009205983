"""A toy whose pictures people judge."""

__all__ = []
