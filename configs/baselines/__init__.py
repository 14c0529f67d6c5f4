"""The methods that S-Flow GAN is compared with, with their authors' settings."""
