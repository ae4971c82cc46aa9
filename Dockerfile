# Primer with everything it needs; llama.cpp is built once, in the first stage.
FROM python:3.11.11-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc g++ make git \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /primer
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
COPY classifiers classifiers
COPY downstream downstream
COPY flows flows
RUN make setup

FROM python:3.11.11-slim-bookworm
# libgomp: llama.cpp and scikit-learn; libseccomp: the sandbox's filter of system calls.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 libseccomp2 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home primer \
 && mkdir /runs && chown primer /runs
COPY --from=build /primer /primer
COPY recipes /primer/recipes
ENV PATH=/primer/.venv/bin:$PATH PRIMER_RUNS=/runs
WORKDIR /primer
USER primer
VOLUME /runs
ENTRYPOINT ["primer"]
CMD ["run", "recipes/demo.yaml"]
