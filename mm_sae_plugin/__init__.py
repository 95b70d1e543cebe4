"""Sparse autoencoders for models that see images and read text, beside SAELens."""
