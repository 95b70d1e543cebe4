"""Whether labels and features can be believed: the library behind ``mm-sae evaluate``."""
