"""The studio as a Hugging Face Space, or in a notebook. RESEFA_NETWORK names the network; the demo generator by default."""

import os

from resefa_plugin import open_network
from resefa_plugin.allocator import keep_large_blocks
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.page import build_page, launch_options
from resefa_plugin.studio.sources import Source

NETWORK = os.environ.get('RESEFA_NETWORK', 'mobilestylegan-ffhq')

keep_large_blocks()
studio = Studio(open_network(NETWORK), [f'--network={NETWORK}'], limit=8, session_options={'source': Source(seed=0, truncation_psi=0.7)})
demo = build_page(studio)

if __name__ == '__main__':
    try:
        demo.launch(**launch_options())
    finally:
        studio.close()
