"""Time, threads, frames in, messages out.

source -> capture thread -> latest-frame slot -> pipeline (perception -> flow -> moments)
-> publisher, archive, recorder, viewer
"""
