"""The experiments of a seminar on priors (Hu, Learning the Human Distribution, 2024).

motion.py        denoising and completion of motion, a row for each prior
generation.py    what priors generate: how diverse, how plausible
fitting.py       single images: each objective with each prior
results.py       cells of tables that are computed once
page.py          bodies on a page
table.py         results -> Markdown, the seminar's own figures beside ours
"""
