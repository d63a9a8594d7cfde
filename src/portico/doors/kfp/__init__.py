"""What kfp's registry client speaks."""
