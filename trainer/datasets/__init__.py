"""Datasets that users bring: `open.open_dataset` reads them as `people.People`, `pictures.look`
makes pairs of them.
"""
