"""Whether statistics of an SAE can be believed: what they are beside nulls, seeds and rivals."""
