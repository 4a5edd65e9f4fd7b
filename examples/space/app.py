"""The studio as a Hugging Face Space, or in a notebook. RESEFA_NETWORK names the network, RESEFA_CLASS its class."""

import os

from resefa_plugin import open_network
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.page import build_page, launch_options
from resefa_plugin.studio.work.sources import Source

NETWORK = os.environ.get('RESEFA_NETWORK', 'mobilestylegan-ffhq')
SOURCE = Source(seed=0, truncation_psi=0.7, label=os.environ.get('RESEFA_CLASS', ''))

keep_large_blocks()
studio = Studio(open_network(NETWORK), [f'--network={NETWORK}'], limit=8, session_options={'source': SOURCE})
demo = build_page(studio)

if __name__ == '__main__':
    try:
        # A Space is called by the name that SPACE_HOST has, and shown in a frame.
        names = [os.environ['SPACE_HOST']] if 'SPACE_HOST' in os.environ else []
        demo.launch(**launch_options(names, frame_ancestors=['https://huggingface.co']))
    finally:
        studio.close()
