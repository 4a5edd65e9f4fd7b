# All commands and the studio, on a CPU:
#
#     docker build --tag resefa .
#     docker run --rm --volume "$PWD:/work" --volume resefa-cache:/cache resefa \
#         factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --quick --outdir=out
#     docker run --rm --network host --volume resefa-cache:/cache resefa \
#         studio --network=mobilestylegan-ffhq --no-browser
#
# The studio answers on this machine alone, which is why it takes the host's network. The package index may give a torch
# with CUDA, of several GB: the address of the one without, which pytorch.org names, goes into
# --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL
COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt torch setuptools \
    && pip install --no-cache-dir --constraint /src/constraints.txt '/src[ui,video]' \
    && rm -r /src

# What is fetched on first use: keep it in a volume.
ENV RESEFA_CACHE=/cache
RUN mkdir -m 1777 /cache /work
WORKDIR /work
ENTRYPOINT ["resefa"]
CMD ["--help"]
