"""Evidence from outside the image: weigh hypotheses by what their own image cannot tell.

evidence.py (the interface, and what is done with it), second_view.py (another camera), contact.py
(floors and objects), surfaces.py (signed distances to them).
"""
