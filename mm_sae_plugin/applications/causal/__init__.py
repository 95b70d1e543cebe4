"""What removing latents costs: does a label say what a latent does to a downstream task?

`gallery` holds the pairs that everything is measured on, `outcomes` the measures, `arms` the sets
of latents; `removing` takes them away, and `costs` puts what that costs beside random sets and per
latent and unit of energy (`resampling` gives the intervals). `claim` judges the paper's claim C4 by
it. `steerability` adds latents instead, one by one, towards what `targets` says they stand for.
`run` does all of it.
"""
