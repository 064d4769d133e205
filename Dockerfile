# The worker, the projector and every other `wallex` command: the command line's words are the container's arguments.
FROM python:3.11-slim

WORKDIR /app
COPY constraints.txt pyproject.toml README.md alembic.ini ./
COPY worker worker
COPY migrations migrations
# Editable: migrations/ and alembic.ini stand beside the package, as in the repository.
RUN pip install --no-cache-dir --constraint constraints.txt --editable . \
    && useradd --system --no-create-home wallex
USER wallex

ENTRYPOINT ["wallex"]
CMD ["worker"]
