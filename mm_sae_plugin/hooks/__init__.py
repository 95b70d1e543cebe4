"""Where a hook reads and writes in any module."""
