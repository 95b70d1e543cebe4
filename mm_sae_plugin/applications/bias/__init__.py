"""Audits of bias: gaps between groups, what they come from, and whether they mean anything.

`twin_audit` asks its three questions of a model on counterfactual twins. For data of one's own
`layouts` and `groups` read and check the columns, `prompts` the prompts, `metrics` and `accuracy`
measure, and `permutation`, `assignments` and `direction` say what chance would give. `attribution`
removes latents beside `matching` random ones; `utility` and `mitigation` say what else changes.
"""
