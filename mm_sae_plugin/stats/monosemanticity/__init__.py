"""Monosemanticity: does a feature fire for one thing, by the judgement of another encoder?

`chosen` is a store of some images only, `embedded` holds its rows as the other encoder sees them.
One pass over it fills three accumulators: `pairwise` (the Monosemanticity Score within a modality),
`cross` (across modalities) and `ExampleRows`, of which `top` makes EmbSim and WinRate.
`estimate` gives all of them intervals.
"""
