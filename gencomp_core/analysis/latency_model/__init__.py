"""What a variant will take, from the shapes of its layers and what this machine was found to take for such layers."""
