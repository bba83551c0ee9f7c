"""Time, threads, pictures in, messages out.

source -> capture thread -> latest-frame slot -> pipeline (perception -> flow -> moments) -> viewer,
publisher, archive
"""
