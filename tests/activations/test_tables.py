"""Tables of a store: columns come back as they were written."""

import pyarrow as pa

from mm_sae_plugin.activations.tables import repeated_strings


def test_repeated_strings_of_several_parts():
    # Each part numbers its strings anew, and one has none.
    parts = [["red", "blue", "red"], [], ["", "blue"], ["green"]]
    column = pa.chunked_array([pa.array(p, pa.string()).dictionary_encode() for p in parts])
    assert repeated_strings(column) == ["red", "blue", "red", "", "blue", "green"]
    assert repeated_strings(column.cast(pa.string())) == repeated_strings(column)
    assert repeated_strings(column[:0]) == []
