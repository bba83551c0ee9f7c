"""Motion capture files of several formats, and how a recorded skeleton poses SMPL's."""
