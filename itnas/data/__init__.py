"""Images: decoded once, kept as tensors on the device, augmented in batches there."""
