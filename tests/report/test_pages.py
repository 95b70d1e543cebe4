"""Filters of the templates."""

from mm_sae_plugin.report.pages import _with_code


def test_commands_in_a_sentence_are_set_as_code_and_the_rest_is_escaped():
    told = _with_code("a <b> is not known: `mm-sae <x>` tells")
    assert told == "a &lt;b&gt; is not known: <code>mm-sae &lt;x&gt;</code> tells"
    assert _with_code("one ` alone & more") == "one ` alone &amp; more"
    assert _with_code("none") == "none"
