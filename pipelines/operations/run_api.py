"""The part of Prefect's API that a run in this process asks for: its own routes, on its own database, and no more.

All of Prefect's server takes a second longer to import and to start, and half a second more of the first requests: for
each of them FastAPI prepares the routes of all parts that come before the one that is asked for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prefect.server.api import admin, artifacts, csrf_token, flow_runs, flows
from prefect.server.database import provide_database_interface
from prefect.server.exceptions import ObjectNotFoundError
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

ROUTERS = (flows.router, flow_runs.router, artifacts.router, admin.router, csrf_token.router)


def application() -> FastAPI:
    """The API below `/api`, like that of Prefect's server, on a database that has no tables yet."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await _make_tables()
        yield

    api = FastAPI(exception_handlers={ObjectNotFoundError: _not_found, OperationalError: _unavailable})
    for router in ROUTERS:
        api.include_router(router)
    app = FastAPI(lifespan=lifespan)
    app.mount("/api", api)
    return app


async def _make_tables() -> None:
    """Make the tables that Prefect's models describe.

    Prefect itself goes through the changes of all its versions, one after the other, which takes 7 s of CPU instead of
    0.06. The models cannot be made as a whole: they name an index twice. Those that serve speed alone are left out.
    """
    database = provide_database_interface()
    async with (await database.engine()).begin() as connection:
        for table in database.Base.metadata.sorted_tables:
            await connection.execute(CreateTable(table))
            for index in (index for index in table.indexes if index.unique):
                await connection.execute(CreateIndex(index))


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"exception_message": str(error)}, status_code=404)


async def _unavailable(request: Request, error: Exception) -> Response:
    """Of a database that is locked for a moment, as it is by two requests at once: the client then asks again."""
    return JSONResponse({"exception_message": "Service Unavailable"}, status_code=503)
