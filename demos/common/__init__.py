"""What every demo shares: look, checks of uploads, locks, errors, manifests and the launch."""
