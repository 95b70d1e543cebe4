"""Training of TopK and BatchTopK SAEs that computes only what is not zero; see README.md here.

The public names live in :mod:`mm_sae_plugin.saes`.
"""
