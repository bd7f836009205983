"""A toy that the lab's tests run."""

__all__ = []
