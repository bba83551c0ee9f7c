"""Datasets that users bring.

`open.open_dataset` reads them as `people.People`, `labelled_images.detect_people` makes samples of
them; `recordings` reads recordings of several cameras.
"""
