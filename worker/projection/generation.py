"""A generation: indices of one number, one for each projection, built beside those that serve and put in their place.

Until then each is reached through an alias of its own (`wallets-000002-build`), so that no search sees it, and whoever
writes documents works on it as on any other. That alias is also the title to it: whoever puts it in place gives the
alias up in the same call, whoever takes it away gives it up first, and either fails where another did so before. So the
index of a rebuild that was killed can be taken away by the next one, and one that is being searched never.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from worker.errors import Fatal, Unavailable
from worker.projection.elastic import IndexLost, elasticsearch_errors
from worker.projection.index import (
    ALIAS,
    SETTINGS,
    Index,
    Projection,
    add_checkpoint,
    create_index,
    find_index,
    index_name,
    read_numbers,
)

CREATE_ATTEMPTS = 5
"""Each time another one was first with the number."""
DRAIN_S = 30.0
"""Searches that began before the switch may take this long, then their index is deleted."""
DRAIN_POLL_S = 0.5

# While nothing reads an index it is neither refreshed nor copied. Its translog is as durable as any.
_BUILD_SETTINGS = {**SETTINGS, "auto_expand_replicas": False, "number_of_replicas": 0, "refresh_interval": "-1"}
_SERVE_SETTINGS = {"index.refresh_interval": None, "index.auto_expand_replicas": SETTINGS["auto_expand_replicas"]}
_WRITE_BLOCK = "index.blocks.write"


BEGAN_LATER = "another rebuild began later and took over: nothing was switched by this one"


class Overtaken(Fatal):
    """Another rebuild began later and took this one's indices away."""


async def begin_generation(client: AsyncElasticsearch, projections: Sequence[Projection]) -> int:
    """Make the indices of the next free number, and return it; then take away what earlier ones left."""
    for _ in range(CREATE_ATTEMPTS):
        number = 1 + max([max(await read_numbers(client, one), default=0) for one in projections])
        try:
            if await _create_all(client, projections, number):
                break
        except (IndexLost, Overtaken) as error:
            # What was made behind the later one's back, it does not take away.
            await abandon(client, projections, number)
            raise Overtaken(BEGAN_LATER) from error
    else:
        raise Unavailable(f"others took the next free number of the indices {CREATE_ATTEMPTS} times: try again")
    for projection in projections:
        await _remove_leftovers(client, projection, number)
    return number


def under_construction(projection: Projection, number: int) -> Projection:
    """The projection under the alias by which its index with that number is reached while it is built."""
    return dataclasses.replace(projection, alias=f"{index_name(projection, number)}-build")


async def open_built(client: AsyncElasticsearch, projection: Projection) -> Index:
    """The index behind the alias of a projection that is `under_construction`; `Overtaken` if it is gone."""
    index = await find_index(client, projection)
    if index is None:
        raise Overtaken(BEGAN_LATER)
    return index


async def why_lost(
    client: AsyncElasticsearch, old: Sequence[Index], built: Sequence[Projection], error: IndexLost
) -> IndexLost | Overtaken:
    """What `error` means to a rebuild: another one took over, or somebody deleted an index."""
    for before in old:
        serves = await find_index(client, before.projection)
        if serves is not None and serves.uuid != before.uuid:
            return Overtaken(f"another rebuild was first: {serves.name} serves now, nothing was switched by this one")
    if not await is_under_construction(client, built):
        return Overtaken(BEGAN_LATER)
    return error


async def is_under_construction(client: AsyncElasticsearch, built: Sequence[Projection]) -> bool:
    """Whether nobody has taken away any of the indices behind the aliases of `built`, nor put one in place."""
    return None not in [await find_index(client, projection) for projection in built]


async def serve_as_usual(client: AsyncElasticsearch, indices: Sequence[Index]) -> None:
    """Give new indices the settings of those that serve: refreshed, and copied where there is a second node."""
    with elasticsearch_errors():
        await client.indices.put_settings(index=[index.name for index in indices], settings=_SERVE_SETTINGS)


async def block_writes(client: AsyncElasticsearch, indices: Sequence[Index]) -> None:
    """Let no document into `indices` any more; what was on its way is in them when this returns."""
    with elasticsearch_errors():
        await client.indices.add_block(index=[index.name for index in indices], block="write")


async def allow_writes(client: AsyncElasticsearch, indices: Sequence[Index]) -> None:
    """Lift the block of `block_writes` from those of `indices` that are still there."""
    with elasticsearch_errors():
        names = [index.name for index in indices]
        await client.indices.put_settings(index=names, settings={_WRITE_BLOCK: None}, ignore_unavailable=True)


async def switch_aliases(client: AsyncElasticsearch, old: Sequence[Index], new: Sequence[Index]) -> None:
    """Let each alias name its new index instead of the old one: all of them at once, or none."""
    actions: list[dict[str, Any]] = []
    for before, after in zip(old, new, strict=True):
        alias = before.projection.alias
        actions += [
            {"remove": {"index": before.name, "alias": alias, "must_exist": True}},
            {"remove": {"index": after.name, "alias": after.projection.alias, "must_exist": True}},
            {"add": {"index": after.name, "alias": alias, **ALIAS}},
        ]
    with elasticsearch_errors():
        try:
            await client.indices.update_aliases(actions=actions)
        except NotFoundError as error:
            raise Overtaken(f"another rebuild was first, so no alias was switched: {error}") from error


async def delete_unused(client: AsyncElasticsearch, indices: Sequence[Index]) -> None:
    """Delete `indices`, which no alias names, once the searches that still run in them are over.

    A rebuild that began meanwhile may have done so already.
    """
    names = [index.name for index in indices]
    with elasticsearch_errors():
        waits = int(DRAIN_S / DRAIN_POLL_S)
        for _ in range(waits):
            await asyncio.sleep(DRAIN_POLL_S)
            stats = (await client.options(ignore_status=404).indices.stats(index=names, metric="search")).body
            if "_all" not in stats or stats["_all"]["total"]["search"]["open_contexts"] == 0:
                break
        for name in names:
            await client.options(ignore_status=404).indices.delete(index=name)


async def abandon(client: AsyncElasticsearch, projections: Sequence[Projection], number: int) -> None:
    """Take away what there is of the indices with that number, as long as they are under construction."""
    for projection in projections:
        await _remove(client, projection, number)


async def _create_all(client: AsyncElasticsearch, projections: Sequence[Projection], number: int) -> bool:
    """Make the indices with that number; False where one was there already: what was made is left over then."""
    with elasticsearch_errors():
        for projection in projections:
            built = under_construction(projection, number)
            try:
                await create_index(client, projection, number, alias=built.alias, settings=_BUILD_SETTINGS)
            except BadRequestError as error:
                if error.error != "resource_already_exists_exception":
                    raise
                return False
            await add_checkpoint(client, await open_built(client, built))
    return True


async def _remove_leftovers(client: AsyncElasticsearch, projection: Projection, number: int) -> None:
    """Take away what rebuilds before `number` left: indices under construction, and those that no alias names."""
    for earlier, aliases in (await read_numbers(client, projection)).items():
        if earlier < number and aliases <= {under_construction(projection, earlier).alias}:
            await _remove(client, projection, earlier)


async def _remove(client: AsyncElasticsearch, projection: Projection, number: int) -> None:
    """Delete the index with that number unless an alias names it by now: then it serves."""
    name = index_name(projection, number)
    title = {"index": name, "alias": under_construction(projection, number).alias, "must_exist": True}
    with elasticsearch_errors():
        try:
            await client.indices.update_aliases(actions=[{"remove": title}])
        except NotFoundError:
            if (await read_numbers(client, projection)).get(number, {"gone"}):
                return
        await client.options(ignore_status=404).indices.delete(index=name)
