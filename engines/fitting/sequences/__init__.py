"""Motion fitted to what is known of it: bodies of successive frames as one problem.

sequence.py        a sequence of bodies, and rows that link a few frames
solver.py          Levenberg-Marquardt for a banded system with a border
covariance.py      what such a fit leaves open, frame by frame
observations.py    joints in space, rotations, a pose prior in every frame
floor.py           what stands does not move and lies on the floor
denoise.py         noisy or incomplete recordings -> the motion behind them
landmarks.py       landmarks of a video, the camera and the shape among the unknowns
video.py           a video's landmarks and a body for each frame -> the motion behind them

Needs SciPy. The prior over motion is an argument; `engines.priors.motion` is one.
"""
