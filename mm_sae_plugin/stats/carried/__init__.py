"""Carried dominance: does the other side carry what makes a latent fire?

An overcomplete dictionary splits one concept into a latent for images and one for captions, on
either side of the modality gap. Each half fires on one side only, and a score of activations calls
it that side's, although both sides show the concept. So the question here is put to the other
side's activations and not to the latent's own code there: can the firing be read from them?

`first_pass` is what one pass over a store takes, `moments` and `probes` fit linear readers from it,
`readings` counts what they say on pairs that they were not fitted on, `calibration` turns that into
probabilities, `rates` into dominance, and `score` does all of it for a store and gives a `result`.
"""
