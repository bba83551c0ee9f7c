"""The experiments behind the published tables.

Of priors, after a seminar (Hu, Learning the Human Distribution, 2024):

compare_priors.py  all of it, in the order of the tables
motion.py          denoising and completion of motion, a row for each prior
generation.py      what priors generate: how diverse, how plausible
fitting.py         single images: each objective with each prior
results.py         cells of tables that are computed once
page.py            bodies on a page
table.py           results -> Markdown, the seminar's own figures beside ours

Of the methods of MHEntropy's paper:

method_runs.py     which runs train, and with which commands
sweep.py           each method's own weights, chosen on validation subjects
temperature.py     what spread gains and costs
"""
