"""Attacks on CLIP's image tower, defenses against them, and evaluations that know the defense."""
