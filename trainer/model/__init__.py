"""What is learnt, in torch: encoder, flow, its rotations and bodies, and the losses. Methods are
built of it.
"""
