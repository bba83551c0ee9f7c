"""Where the camera stands: gravity and the floor, from the people that it sees.

estimator.py   people of one frame after the other -> `World`
floor.py       the floor from feet at rest, and its uncertainty
frames.py      up and a height as the world frame
"""
