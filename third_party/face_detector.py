"""Where a published package has the networks that find faces: what is fetched, hashes, licence."""

from __future__ import annotations

from resefa_plugin.third_party.assets import Asset

_DATA = 'facenet_pytorch/data'
# The package itself is neither installed nor run: it asks for an older torch.
FACE_DETECTOR = Asset(
    name='mtcnn',
    requirement='facenet-pytorch==2.6.0',
    archive_sha256='ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca',
    files={
        f'{_DATA}/pnet.pt': 'a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f',
        f'{_DATA}/rnet.pt': 'bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86',
        f'{_DATA}/onet.pt': '165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d',
    },
    licence='MTCNN of the package facenet-pytorch, MIT; trained on WIDER FACE and CelebA, which are for non-commercial '
            'research',
)
