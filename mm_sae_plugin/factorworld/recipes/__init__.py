"""How the embedded models were trained, measured and packed."""
