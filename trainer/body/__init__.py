"""The default body: people out of Anny's shapes, with the proportions and the T-pose of ours.

sampling.py      Anny's distribution of shapes -> bodies in its rest pose, in our axes and joints
proportions.py   hips and limbs as people have them
rest_pose.py     Anny's rest pose -> the T-pose
components.py    bodies -> mean, shape components, joint regressor
"""
