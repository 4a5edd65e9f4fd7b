"""StyleGAN3, and StyleGAN-XL, which adds classes and superresolution stages to it."""
