"""Whether a label is worth something: nulls, other seeds, other ways of labelling, comparators."""
