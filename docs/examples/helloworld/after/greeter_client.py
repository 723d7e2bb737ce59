import helloworld_pb2
import helloworld_pb2_grpc
import pki

me = pki.Workload.from_directory("certs/visitor", policy="policy.toml")
with me.sync_channel("localhost:50051", peer="greeter") as channel:
    stub = helloworld_pb2_grpc.GreeterStub(channel)
    print(stub.SayHello(helloworld_pb2.HelloRequest(name="world")).message)
