"""The claims of Yan et al. 2025 (arXiv 2502.14888), each with what was measured and a verdict."""
