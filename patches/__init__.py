"""Runtime patches that let official StyleGAN networks run forward-mode AD and vmap on current torch."""
