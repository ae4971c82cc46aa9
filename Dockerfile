# Primer with everything it needs; llama.cpp is built once, in the first stage.
# Needs BuildKit's default frontend alone. `docker compose build` makes both images:
# primer (servers, workers, catalog) and primer-trainer (a compiler more, for torch.compile).
FROM python:3.11.16-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc g++ make git \
 && rm -rf /var/lib/apt/lists/*
# Where pip looks for wheels besides PyPI: a CPU build of PyTorch there makes the image much smaller.
ARG PIP_FIND_LINKS
# The files of the image cannot be changed when it runs, so what Python compiles is compiled here.
ENV UV_COMPILE_BYTECODE=1
WORKDIR /primer
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
COPY classifiers classifiers
COPY downstream downstream
COPY flows flows
COPY catalog catalog
RUN make setup EXTRAS=all \
 && .venv/bin/python -m compileall -q pipeline classifiers downstream flows catalog

FROM python:3.11.16-slim-bookworm AS application
# libgomp: llama.cpp and scikit-learn; libseccomp: the sandbox's filter of system calls.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 libseccomp2 \
 && rm -rf /var/lib/apt/lists/*
# A fixed uid, so that volumes stay the user's when the image is built anew; a new volume takes the
# owner of the folder that it covers.
RUN useradd --uid 10001 --create-home primer \
 && install -d -o primer -g primer /runs
COPY --from=build /primer /primer
COPY recipes /primer/recipes
COPY prefect.yaml /primer/prefect.yaml
ENV PATH=/primer/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PRIMER_RUNS=/runs
WORKDIR /primer
USER 10001:10001
VOLUME /runs
ENTRYPOINT ["primer"]
CMD ["--help"]

FROM application AS trainer
USER root
# torch.compile hands the launchers of its kernels to a C compiler.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
USER 10001:10001
