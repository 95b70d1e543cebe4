"""Statistics that can be believed: what a label, a feature map and a claim are worth."""
