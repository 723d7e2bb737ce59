import asyncio

import pki
import route_guide_pb2_grpc
from route_guide_pb2 import Feature, Point, RouteSummary

FEATURES = [
    Feature(name="Lighthouse", location=Point(latitude=10, longitude=20)),
    Feature(name="Old mill", location=Point(latitude=30, longitude=40)),
]


class RouteGuide(route_guide_pb2_grpc.RouteGuideServicer):
    def __init__(self):
        self.notes = []

    async def GetFeature(self, request, context):
        return next(
            (item for item in FEATURES if item.location == request), Feature(location=request)
        )

    async def ListFeatures(self, request, context):
        for item in FEATURES:
            if request.lo.latitude <= item.location.latitude <= request.hi.latitude:
                yield item

    async def RecordRoute(self, request_iterator, context):
        points = [point async for point in request_iterator]
        known = [item for item in FEATURES if item.location in points]
        return RouteSummary(point_count=len(points), feature_count=len(known))

    async def RouteChat(self, request_iterator, context):
        async for note in request_iterator:
            for earlier in self.notes:
                if earlier.location == note.location:
                    yield earlier
            self.notes.append(note)


async def serve():
    me = pki.Workload.from_directory("certs/guide", policy="policy.toml")
    server = me.server()
    route_guide_pb2_grpc.add_RouteGuideServicer_to_server(RouteGuide(), server)
    server.add_secure_port("localhost:50051")
    await server.start()
    await server.wait_for_termination()


asyncio.run(serve())
