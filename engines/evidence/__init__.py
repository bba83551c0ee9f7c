"""Outside evidence about a body: choose and reweight hypotheses by what the picture that they came
from cannot know.

evidence.py (the interface, and what is done with it), second_view.py (another camera), surfaces.py
(floors and objects, on the points of skin.py), density.py (the flow's own opinion).
"""
