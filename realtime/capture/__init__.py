"""From a device, a stream or files to frames with time stamps."""
