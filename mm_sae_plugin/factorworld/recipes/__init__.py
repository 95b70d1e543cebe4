"""How the embedded models were trained, measured and packed.

``train_clip`` trains (from ``training_data``, with ``label_heads`` and the second ``views``),
``evaluate_clip`` measures, and ``ship_clip`` writes the weights and their cards into the package.
Nothing outside this folder needs any of it.
"""
