"""A DICOM study over HTTP: upload it, and look at slices and projections through a window.

The volumes are in a store of outlive, and not in the replicas. So these may come and go. `Api` speaks HTTP. Behind it
are `Viewer`s, which make the pictures, and may be scaled down, killed and replaced while they are asked.

    python examples/dicom_serve/main.py
"""

import os
from typing import Annotated, Any, Literal

import ray
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from image import NoSuchSlice, png
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from study import LARGEST, NotAStudy, read_study

import outlive
from outlive.errors import ArrayLost, ArrayNotFound, InvalidKey, OutliveError, StoreFull

STORE = "dicom"
UNAVAILABLE = (OutliveError, RayError, RayServeException)  # 503, but for these:
STATUS = {
    NotAStudy: 400,
    (ArrayNotFound, InvalidKey, NoSuchSlice): 404,
    ArrayLost: 410,  # its node is gone: upload it again
    StoreFull: 507,
}
Axis = Literal["z", "y", "x"]
Center = Annotated[float | None, Query(ge=-1e6, le=1e6)]
Width = Annotated[float | None, Query(ge=1, le=1e6)]
http = FastAPI(title="DICOM studies")


@ray.remote(num_cpus=0.5, max_calls=1)  # what reading leaves in memory goes with the worker, and the volumes stay
def ingest(upload: bytes) -> dict[str, Any]:
    study, series = read_study(upload)
    outlive.open(STORE).put_many({f"{study}/{uid}": found for uid, found in series.items()})
    return {"study": study, "series": {uid: found["volume"].shape for uid, found in series.items()}}


@serve.deployment(
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=16,
    autoscaling_config={"min_replicas": 1, "initial_replicas": 3, "max_replicas": 3, "target_ongoing_requests": 8}
    | {"downscale_delay_s": 5},
)
class Viewer:
    """Makes pictures. It holds nothing that would be lost with it."""

    def __init__(self, release: str) -> None:
        self.store = outlive.open(STORE)
        self.about = {"release": release, "pid": str(os.getpid()), "node": ray.get_runtime_context().get_node_id()}

    def picture(self, key: str, *what: Any) -> tuple[bytes, dict[str, str]]:
        series = self.store[key]  # its volume is a view of this node's shared memory: no copy is made
        return png(series, *what), self.about


def answer(_: Request, error: Exception) -> JSONResponse:
    """The status of an error, and its message in place of a traceback."""
    error = error.cause if isinstance(error, RayTaskError) else error
    status = next((status for kinds, status in STATUS.items() if isinstance(error, kinds)), 503)
    if status == 503 and not isinstance(error, UNAVAILABLE):
        raise error  # a mistake of this program
    return JSONResponse({"detail": str(error)}, status)


for kind in UNAVAILABLE:  # before `ingress`, which copies the application
    http.add_exception_handler(kind, answer)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(http)
class Api:
    def __init__(self, viewers: Any) -> None:
        self.store, self.viewers = outlive.open(STORE), viewers

    @http.post("/studies", status_code=201)
    async def upload(self, request: Request) -> dict[str, Any]:
        """The body is a ZIP of the study's files. Series that are there already are replaced."""
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                raise HTTPException(413, f"an upload has {LARGEST:,} bytes at most")
        return await ingest.remote(bytes(body))

    @http.get("/studies/{study}")
    def series(self, study: str) -> list[str]:
        found = [key.partition("/")[2] for key in self.store.keys(prefix=f"{study}/")]
        if not found:
            raise HTTPException(404, f"there is no study {study}")
        return found

    @http.delete("/studies/{study}", status_code=204)
    def delete(self, study: str) -> None:
        self.store.delete(*(f"{study}/{series}" for series in self.series(study)))

    @http.get("/studies/{study}/series/{series}/slices/{number}")
    async def slice(
        self, study: str, series: str, number: int, axis: Axis = "z", center: Center = None, width: Width = None
    ) -> Response:
        return await self._picture(f"{study}/{series}", axis, number, center, width)

    @http.get("/studies/{study}/series/{series}/projection")
    async def projection(
        self, study: str, series: str, axis: Axis = "z", center: Center = None, width: Width = None
    ) -> Response:
        return await self._picture(f"{study}/{series}", axis, None, center, width)

    async def _picture(self, *what: Any) -> Response:
        for asked in range(1, 6):
            try:
                picture, about = await self.viewers.picture.remote(*what)
            except RayActorError:  # it died over this request. It only reads, so another one may be asked
                continue
            return Response(picture, media_type="image/png", headers={**about, "asked": str(asked)})
        raise HTTPException(503, "one viewer after the other has died over this request", {"Retry-After": "1"})


def deploy(port: int, release: str) -> None:
    """Deploy the application, or upgrade it. Requests are answered meanwhile."""
    serve.start(proxy_location="HeadOnly", http_options={"port": port})
    serve.run(Api.bind(Viewer.bind(release)), name="dicom")
