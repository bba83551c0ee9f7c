"""The posterior that we train and those that it is compared with, one file each."""
