"""Whatever needs gradients or data sets. Nothing imports it at run time."""
