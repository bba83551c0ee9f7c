"""The experiments of the founding document on priors, on motion capture of test subjects.

motion.py        denoising and completion of motion, a row for each prior
generation.py    what priors generate: how diverse, how plausible
page.py          bodies on a page
table.py         results -> Markdown, the document's own figures beside ours
"""
