"""Audits of bias: gaps between groups, what they come from, and whether they mean anything.

`twin_audit` asks its three questions of a model on counterfactual twins, `group_audit` of images in
groups. `layouts` and `groups` read and check the columns, `prompts` the prompts, `metrics` and
`accuracy` measure, and `permutation`, `assignments` and `direction` say what chance would give.
`evidence` holds the vectors of an audit, `bench` a study with all that an edit of it is judged by;
on one, `attributed` says what a gap comes from and `mitigations` what makes it smaller, at what
cost. `own_table` and `own_data` take the user's pictures; `sensitivity` says how far gaps hang on
wording and background.
"""
