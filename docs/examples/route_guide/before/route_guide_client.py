import asyncio

import grpc.aio
import route_guide_pb2_grpc
from route_guide_pb2 import Point, Rectangle, RouteNote

LIGHTHOUSE = Point(latitude=10, longitude=20)


async def walk():
    for latitude in (10, 11, 12):
        yield Point(latitude=latitude, longitude=20)


async def chat():
    for message in ("first", "second"):
        yield RouteNote(location=LIGHTHOUSE, message=message)


async def main():
    async with grpc.aio.insecure_channel("localhost:50051") as channel:
        stub = route_guide_pb2_grpc.RouteGuideStub(channel)
        print((await stub.GetFeature(LIGHTHOUSE)).name)
        everywhere = Rectangle(lo=Point(latitude=0), hi=Point(latitude=90))
        print([feature.name async for feature in stub.ListFeatures(everywhere)])
        summary = await stub.RecordRoute(walk())
        print(f"{summary.point_count} points, {summary.feature_count} feature")
        print([note.message async for note in stub.RouteChat(chat())])


asyncio.run(main())
