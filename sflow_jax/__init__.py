"""S-Flow GAN: photo-realistic images and flicker-free video from simulator frames, in JAX."""
